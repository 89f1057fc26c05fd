"""The sections of `keys` in a configuration that say where keys are."""

from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, WithJsonSchema

from crplugins.keys.values import NullIsNothing, Text
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import Count, Flag, refusal

DEFAULT_STALE_SECONDS: Final = 300.0
DEFAULT_CACHED_KEYS: Final = 50_000


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise refusal("must be a number of seconds, 0 or more")
    return float(value)


Seconds = Annotated[float, PlainValidator(_seconds), WithJsonSchema({"type": "number", "minimum": 0})]


class FileSource(NullIsNothing):
    """Keys in a YAML or JSON file of their own, which is followed."""

    file: Text = Field(examples=["keys.yaml"])
    """The file; a relative one is relative to the current folder."""

    pepper: Annotated[Text, OneLine] | None = Field(default=None, repr=False, examples=["${KEYS_PEPPER}"])
    """With it, new secrets are kept as HMAC-SHA256."""

    audit: Text | None = Field(default=None, examples=["/var/log/crplugins/keys.jsonl"])
    """The file of the audit log, one change on each line; by default beside the keys, `keys.audit.jsonl`."""


class SqlSource(NullIsNothing):
    """Keys in a database."""

    sql: Annotated[Text, OneLine] = Field(repr=False, examples=["sqlite:///gw.db"])
    """sqlite:///gw.db or postgresql://user:password@host/db."""

    pepper: Annotated[Text, OneLine] | None = Field(default=None, repr=False, examples=["${KEYS_PEPPER}"])
    """With it, new secrets are kept as HMAC-SHA256."""

    migrate: Flag = Field(default=True, examples=[False])
    """Whether the gateway makes and updates the tables itself."""

    stale_seconds: Seconds = Field(default=DEFAULT_STALE_SECONDS, examples=[60])
    """How long known keys go on while the database does not answer."""

    cached_keys: Count = Field(default=DEFAULT_CACHED_KEYS, examples=[200000])
    """How many keys are kept in memory, at about 1 KB each: those that were used last. Any other is looked up."""


class JwtSource(NullIsNothing):
    """Keys that are tokens of an identity provider."""

    jwt: Any = Field(examples=[{"issuer": "https://login.example.com/", "audience": "gateway", "jwks": "jwks.json"}])
    """What is known about the provider and its tokens."""


class ListSource(NullIsNothing):
    """Keys that stand in the configuration itself, beside other sources."""

    keys: tuple[Any, ...] = Field(default=(), repr=False, examples=[[{"id": "team-a", "secret": "${TEAM_A_KEY}"}]])
    """The keys."""
