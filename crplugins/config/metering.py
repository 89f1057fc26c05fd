"""The sections about what requests take and cost: usage, ledger, metrics."""

import re
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from crplugins.core.network import has_host
from crplugins.metering.listed_prices import ListedPrices
from crplugins.plugins.disconnects import DRAIN_SECONDS, DRAIN_TOKENS
from crplugins.settings.building import Deferred
from crplugins.settings.secret_text import OneLine, Sendable
from crplugins.settings.section import Number, Section, Whole, refusal, switch


class UsageSection(Section):
    """How tokens are counted."""

    estimator: Literal["bytes", "litellm"] = Field(default="bytes", examples=["litellm"])
    """What counts where the provider does not: an estimate by characters and chunks, or litellm's tokenizers."""

    metadata: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), examples=[["feature"]])
    """Names in a request's `metadata` that become tags of its record."""

    drain_seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = Field(default=DRAIN_SECONDS, examples=[10])
    """With `on_disconnect: drain`, how long an answer is read on at most after its client has disconnected."""

    drain_tokens: Annotated[Whole, Field(gt=0)] = Field(default=DRAIN_TOKENS, examples=[2048])
    """With `on_disconnect: drain`, how many output tokens are read on at most."""


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not has_host(value):
        raise refusal("must be a URL with a host, such as https://prices.example.com/models.json")
    return value


class PricesSection(Section):
    """A list of prices of your own, in the format of LiteLLM's; it takes the place of the installed one."""

    file: Annotated[str, Field(min_length=1)] | None = None
    """A file, in the place of `url`; it must be there at the start."""

    url: Annotated[str, AfterValidator(_address), OneLine] | None = Field(
        default=None, repr=False, examples=["https://prices.example.com/models.json"]
    )
    """An address. Until it has answered for the first time the installed list counts."""

    refresh_seconds: Annotated[Number, Field(ge=1, allow_inf_nan=False)] = Field(default=3600, examples=[300])
    """How often it is looked for anew. A list that cannot be read, or has lost half of its prices, changes nothing."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise refusal("needs one of file and url")
        return self

    def listed(self) -> ListedPrices:
        return ListedPrices(file=self.file, url=self.url, refresh_seconds=self.refresh_seconds)


_DAYS: Final = re.compile(r"(\d{1,5})d")
_LEAST_DAYS: Final = 7


def _days(value: str) -> str:
    match = _DAYS.fullmatch(value)
    if match is None or int(match[1]) < _LEAST_DAYS:
        raise refusal("must be a number of days such as 400d, and at least 7d")
    return value


class LedgerSection(Section):
    """Where the record of every request is kept. PostgreSQL needs the extra `postgres`, SQLite `sql` or `gateway`."""

    url: Annotated[str, Field(min_length=1, repr=False), OneLine] = Field(
        default="sqlite:///usage.db", examples=["postgresql://user:password@host/db"]
    )
    """The database: `sqlite:///usage.db` or `postgresql://user:password@host/db`."""

    spool: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/var/lib/crplugins/usage.spool"])
    """A local file for records that the database cannot take at the moment; by default one beside the database."""

    commit_seconds: Annotated[Number, Field(ge=0, le=60, allow_inf_nan=False)] = Field(default=1, examples=[0.1])
    """How long a record waits in the journal for others, to be committed with them; 0 commits at once."""

    keep: Annotated[str, AfterValidator(_days)] | None = Field(default=None, examples=["400d"])
    """How long the row of a request is kept, such as `400d`, at least `7d`; by default for ever. The sums of its day by
    key, team, model and provider stay."""

    migrate: bool = Field(default=True, examples=[False])
    """Whether the gateway makes and updates the tables itself."""

    @property
    def kept(self) -> timedelta | None:
        """The time itself."""
        return None if self.keep is None else timedelta(days=int(self.keep.removesuffix("d")))


def _path(value: str) -> str:
    if not value.startswith("/") or value == "/":
        raise refusal("must be a path such as /metrics")
    return value


def _receiver(value: str) -> str:
    if not value.lower().startswith(("http://", "https://")) or not has_host(value):
        raise refusal("must be a URL with a host, such as http://collector:4318")
    return value


class OtlpSection(Section):
    """A receiver that the same metrics are pushed to over OTLP (http/protobuf), besides being served to Prometheus.

    `true` is the same with nothing written in it. Headers, certificates, compression and the rest are told by the
    environment (`OTEL_EXPORTER_OTLP_*`), as for traces. Needs the extra `otlp`.
    """

    endpoint: Annotated[str, AfterValidator(_receiver), OneLine] | None = Field(
        default=None, repr=False, examples=["http://collector:4318"]
    )
    """The receiver's address, to which `/v1/metrics` is added; by default what `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` or
    `OTEL_EXPORTER_OTLP_ENDPOINT` says, else `http://localhost:4318`."""

    interval_seconds: Annotated[Number, Field(ge=1, allow_inf_nan=False)] | None = Field(default=None, examples=[15])
    """How often they are pushed; by default what `OTEL_METRIC_EXPORT_INTERVAL` says in milliseconds, else 60."""


class MetricsSection(Section):
    """Where Prometheus finds the metrics, and who else is sent them."""

    token: Annotated[SecretStr, Field(min_length=1), Sendable] | None = Field(examples=["${METRICS_TOKEN}"])
    """What a scraper presents as `Authorization: Bearer`; null serves the metrics to everybody."""

    path: Annotated[str, AfterValidator(_path)] = Field(default="/metrics", examples=["/internal/metrics"])
    """The path they are served under."""

    key_cap: Annotated[Whole, Field(gt=0)] = Field(default=500, examples=[2000])
    """How many keys have series of their own; further ones are counted as `other`."""

    inter_chunk: bool = Field(default=False, examples=[True])
    """Whether the time between two chunks of a stream is measured too, which costs on each chunk."""

    otlp: Annotated[Deferred[OtlpSection] | None, BeforeValidator(switch)] = None
    """A receiver of OpenTelemetry's that they are pushed to; `true` for the one that the environment names."""

    @property
    def secret(self) -> str | None:
        """The token itself."""
        return None if self.token is None else self.token.get_secret_value()
