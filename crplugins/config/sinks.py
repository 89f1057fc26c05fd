"""The section `sinks`: brokers that every usage record is published to."""

import ssl
from collections.abc import Iterator, Mapping
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from crplugins.settings.errors import Problem
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import Section, Whole, refusal

if TYPE_CHECKING:
    from crplugins.sinks.stream import Broker

_SPOOLED: Final = 1_000_000
_LETTERS: Final = frozenset(f"{ascii_letters}{digits}._-")


class SinkSection(Section):
    """What all sinks have in common: how records wait while a broker is away."""

    def broker(self) -> "Broker":
        """Where they are published. Raises ImportError without its package, ValueError for an address that nobody can
        read, and OSError, `ssl.SSLError` among them, for a certificate."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Why there can be none, whatever is on this machine's disk."""
        try:
            self.broker()
        except (ValueError, ImportError) as error:
            return str(error)
        return None

    def file_problem(self) -> str | None:
        """Why its files are no good. Blocks."""
        return None

    spool: Annotated[str, Field(min_length=1)]
    """A local file for records that the broker cannot take at the moment; the journals are in its folder."""

    max_spooled: Annotated[Whole, Field(gt=0)] = Field(default=_SPOOLED, examples=[10_000_000])
    """How many records wait there at most, a kilobyte each. Behind them, and 50,000 in the memory of each process,
    records are dropped and counted."""


def _joined(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value


def _topic(value: str) -> str:
    if not 0 < len(value) < 250 or not set(value) <= _LETTERS or value in (".", ".."):
        raise refusal("must be a name of letters, digits, dots, underscores and hyphens, 249 at most")
    return value


class KafkaSinkSection(SinkSection):
    """A topic of Kafka, or of what speaks its protocol. Needs the extra `kafka`."""

    bootstrap_servers: Annotated[str, Field(min_length=1), BeforeValidator(_joined), OneLine] = Field(
        examples=["kafka-1:9092,kafka-2:9092"]
    )
    """Brokers that tell of all others: `host:port`, several with commas between or as a list."""

    topic: Annotated[str, AfterValidator(_topic)] = Field(default="crplugins-usage", examples=["llm.usage"])
    """The topic. The id of a record's key is the key of its message."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", examples=["SASL_SSL"]
    )
    """How brokers are spoken to."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", examples=["SCRAM-SHA-512"]
    )
    """With SASL, how the gateway proves who it is."""

    sasl_username: Annotated[str, Field(min_length=1), OneLine] | None = Field(default=None, examples=["crplugins"])
    """With SASL, its name."""

    sasl_password: Annotated[SecretStr, Field(min_length=1), OneLine] | None = Field(
        default=None, examples=["${KAFKA_PASSWORD}"]
    )
    """With SASL, its password."""

    ssl_cafile: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/kafka-ca.pem"])
    """With SSL, the certificates in PEM that sign those of the brokers; by default those of the machine."""

    ssl_certfile: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/gateway.pem"])
    """With SSL, the gateway's own certificate in PEM."""

    ssl_keyfile: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/gateway.key"])
    """With SSL, the key of that, if it is not in the same file."""

    spool: Annotated[str, Field(min_length=1)] = Field(
        default="crplugins-kafka.spool", examples=["/var/lib/crplugins/kafka.spool"]
    )
    """A local file for records that the brokers cannot take at the moment; the journals are in its folder."""

    @model_validator(mode="after")
    def _has_what_the_protocol_needs(self) -> Self:
        named = self.sasl_username is not None and self.sasl_password is not None
        if self.security_protocol.startswith("SASL") and not named:
            raise refusal("needs sasl_username and sasl_password for SASL")
        return self

    def broker(self) -> "Broker":
        from crplugins.sinks.kafka import KafkaBroker  # aiokafka, which only this needs

        return KafkaBroker(self.bootstrap_servers, self.topic, self._options())

    def problem(self) -> str | None:
        try:
            import crplugins.sinks.kafka  # noqa: F401  # what `broker` needs
        except ImportError as error:
            return str(error)
        return None

    def file_problem(self) -> str | None:
        try:
            self._options()
        except OSError as error:
            return f"its certificates cannot be read: {error.strerror or error}"
        return None

    def _options(self) -> Mapping[str, Any]:
        """As aiokafka takes them."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL") and self.sasl_password is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, lambda: "")
            options["ssl_context"] = context
        return options


class RedisSinkSection(SinkSection):
    """A stream of Redis or Valkey. Needs the extra `redis`."""

    url: Annotated[str, Field(min_length=1, repr=False), OneLine] = Field(examples=["redis://host:6379/0"])
    """The server, also `redis+sentinel://` and `redis+cluster://`, as for `limits.store`."""

    stream: Annotated[str, Field(min_length=1)] = Field(default="crplugins:usage", examples=["llm:usage"])
    """The key of the stream."""

    max_length: Annotated[Whole, Field(gt=0)] = Field(default=1_000_000, examples=[100_000])
    """About how many entries it has at most: the oldest go (`MAXLEN ~`), whether or not somebody has read them."""

    spool: Annotated[str, Field(min_length=1)] = Field(
        default="crplugins-redis.spool", examples=["/var/lib/crplugins/redis.spool"]
    )
    """A local file for records that the server cannot take at the moment; the journals are in its folder."""

    def broker(self) -> "Broker":
        from crplugins.sinks.redis import RedisBroker  # redis-py, which only this needs

        return RedisBroker(self.url, self.stream, self.max_length)


class SinksSection(Section):
    """Brokers that the record of every request is published to, besides the ledger or in its place."""

    kafka: KafkaSinkSection | None = None
    """A topic of Kafka."""

    redis: RedisSinkSection | None = None
    """A stream of Redis."""

    def present(self) -> Mapping[str, SinkSection]:
        """Those that are configured."""
        sections: Mapping[str, SinkSection | None] = {"kafka": self.kafka, "redis": self.redis}
        return {kind: section for kind, section in sections.items() if section is not None}

    def problems(self) -> Iterator[Problem]:
        """Sinks that cannot be: a missing package, an address that nobody can read."""
        for kind, section in self.present().items():
            if (problem := section.problem()) is not None:
                yield Problem(("sinks", kind), problem)
