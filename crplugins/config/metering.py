"""The sections about what requests take and cost: usage, ledger, metrics."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from crplugins.plugins.disconnects import DRAIN_SECONDS, DRAIN_TOKENS
from crplugins.settings.section import Number, Section, Whole, refusal


class Usage(Section):
    """How tokens are counted.

    Attributes:
        estimator: what counts them where the provider does not: a token for every four bytes, or litellm's tokenizers.
        metadata: names in a request's `metadata` that become tags of its record.
        drain_seconds, drain_tokens: how long an answer is read on at most when its client has left.
    """

    estimator: Literal["bytes", "litellm"] = "bytes"
    metadata: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    drain_seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = DRAIN_SECONDS
    drain_tokens: Annotated[Whole, Field(gt=0)] = DRAIN_TOKENS


class Ledger(Section):
    """Where the record of every request is kept.

    Attributes:
        url: `sqlite:///usage.db` or `postgresql://user:password@host/db`.
        spool: a local file for what the database cannot take at the moment; None for one beside it.
        migrate: whether the gateway makes and updates the tables itself.
    """

    url: Annotated[str, Field(min_length=1, repr=False)] = "sqlite:///usage.db"
    spool: Annotated[str, Field(min_length=1)] | None = None
    migrate: bool = True


def _path(value: str) -> str:
    if not value.startswith("/") or value == "/":
        raise refusal("must be a path such as /metrics")
    return value


class Metrics(Section):
    """Where Prometheus finds the metrics.

    Attributes:
        token: what a scraper presents as `Authorization: Bearer`; null serves them to everybody.
        key_cap: how many keys get a series of their own.
        inter_chunk: whether the time between two chunks is measured too, which costs on each.
    """

    token: Annotated[SecretStr, Field(min_length=1)] | None
    path: Annotated[str, AfterValidator(_path)] = "/metrics"
    key_cap: Annotated[Whole, Field(gt=0)] = 500
    inter_chunk: bool = False

    @property
    def secret(self) -> str | None:
        """The token itself."""
        return None if self.token is None else self.token.get_secret_value()
