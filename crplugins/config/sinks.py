"""The section `sinks`: brokers that every usage record is published to."""

import ssl
from collections.abc import Iterator, Mapping
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from crplugins.config.tls import tls_reason, unreadable
from crplugins.settings.building import Deferred
from crplugins.settings.errors import Problem
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import Section, Whole, refusal

if TYPE_CHECKING:
    from crplugins.sinks.stream import Broker

_SPOOLED: Final = 1_000_000
_PROTOCOLS: Final = {"sasl_": "SASL_PLAINTEXT or SASL_SSL", "ssl_": "SSL or SASL_SSL"}
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
    """How many records wait there at most, a kilobyte each. After them, and 50,000 in the memory of each process,
    records are dropped and counted."""


def _joined(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value


def _servers(value: str) -> str:
    for server in value.split(","):
        if not _is_server(server.strip()):
            raise refusal("must be host:port, several with commas between")
    return value


def _is_server(text: str) -> bool:
    """Whether it is a host, with or without a port. aiokafka would see a wrong one only when it connects."""
    try:
        parts = urlsplit(f"//{text}")
        return parts.netloc == text and "@" not in text and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False


def _topic(value: str) -> str:
    if not 0 < len(value) < 250 or not set(value) <= _LETTERS or value in (".", ".."):
        raise refusal("must be a name of letters, digits, dots, underscores and hyphens, 249 at most")
    return value


class KafkaSinkSection(SinkSection):
    """A topic of Kafka, or of what speaks its protocol. Needs the extra `kafka`."""

    bootstrap_servers: Annotated[
        str, Field(min_length=1), BeforeValidator(_joined), OneLine, AfterValidator(_servers)
    ] = Field(examples=["kafka-1:9092,kafka-2:9092"])
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
    def _fits_the_protocol(self) -> Self:
        named = self.sasl_username is not None and self.sasl_password is not None
        if self._is_sasl and not named:
            raise refusal("needs sasl_username and sasl_password for SASL")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise refusal("needs ssl_certfile, whose key this is", "ssl_keyfile")
        for start, counts in (("sasl_", self._is_sasl), ("ssl_", self._is_tls)):
            # Ignored in silence, they would let people think that brokers are asked for a certificate.
            for name in sorted(self.model_fields_set):
                if name.startswith(start) and not counts and getattr(self, name) is not None:
                    protocols = _PROTOCOLS[start]
                    raise refusal(f"needs security_protocol {protocols}; it is {self.security_protocol}", name)
        return self

    @property
    def _is_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    @property
    def _is_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

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
        files = {"ssl_cafile": self.ssl_cafile, "ssl_certfile": self.ssl_certfile, "ssl_keyfile": self.ssl_keyfile}
        for name, file in files.items():
            if file is not None and (why := unreadable(file)) is not None:
                return f"{name} {why}"
        try:
            self._trust()
        except OSError as error:
            return f"ssl_cafile {self.ssl_cafile} has no certificate in PEM ({tls_reason(error)})"
        try:
            self._tls()
        except OSError as error:
            return (
                f"ssl_certfile {self.ssl_certfile} and its key are no certificate and key in PEM that belong together, "
                f"or the key has a password ({tls_reason(error)})"
            )
        return None

    def _options(self) -> Mapping[str, Any]:
        """As aiokafka takes them."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self._is_sasl and self.sasl_password is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        if self._is_tls:
            options["ssl_context"] = self._tls()
        return options

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ssl_cafile)

    def _tls(self) -> ssl.SSLContext:
        context = self._trust()
        if self.ssl_certfile is not None:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, lambda: "")
        return context


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

    kafka: Deferred[KafkaSinkSection] | None = None
    """A topic of Kafka."""

    redis: Deferred[RedisSinkSection] | None = None
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
