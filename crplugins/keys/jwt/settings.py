"""JwtSettings: which tokens are accepted, and which claims say what.

jwt:
  issuer: https://login.example.com/
  audience: crplugins                    # null where tokens have none
  jwks: https://login.example.com/.well-known/jwks.json
  claims: {id: sub, team: org.team, models: gateway.models, limits: {requests_per_minute: gateway.rpm}}
  defaults: {models: [gpt-4o-mini], limits: {requests_per_minute: 60}}
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field

from crplugins.core.network import has_host
from crplugins.keys.policy import POLICY_KEYS, PolicySection
from crplugins.keys.sections import Seconds
from crplugins.keys.values import NullIsNothing, Text, Texts
from crplugins.settings.errors import KeyPath
from crplugins.settings.reading import read_section
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import refusal

FAMILIES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA")
    | dict.fromkeys(("ES256", "ES384", "ES512", "ES256K"), "EC")
    | {"EdDSA": "OKP"}
)
"""The algorithms there are, each with the `kty` of its keys. Only those with a public key: a shared secret would let
everyone who can check a token make one, and `none` everyone."""

DEFAULT_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def _audience(value: Any) -> Any:
    if value is _NOT_GIVEN:
        raise refusal("is missing; write null if the issuer's tokens have none, and all of them may call")
    if value is not None and not value:
        raise refusal("must not be empty")
    return (value,) if isinstance(value, str) else value


_NOT_GIVEN: Final = ("?",)


def _algorithms(chosen: tuple[str, ...]) -> tuple[str, ...]:
    if not chosen or any(name not in FAMILIES for name in chosen):
        raise refusal(f"must be some of {', '.join(FAMILIES)}")
    return chosen


def _claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, claim in claims.items():
        inner = claim.values() if isinstance(claim, Mapping) else [claim]
        if name not in POLICY_KEYS:
            raise refusal(f"'{name}' is no field of a key; there are {', '.join(POLICY_KEYS)}")
        if not all(isinstance(item, str) and item for item in inner):
            raise refusal(f"'{name}' must be the name of a claim")
    return {"id": "sub", **claims}


def _location(value: str) -> str:
    if value.startswith(("http://", "https://")) and not has_host(value):
        raise refusal("must be a file, or a URL with a host such as https://login.example.com/.well-known/jwks.json")
    return value


def _refresh(seconds: float) -> float:
    if seconds < 1:  # the issuer would be asked again and again without a pause
        raise refusal("must be 1 or more")
    return seconds


def _defaults(defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    if "id" in defaults:
        raise refusal("an id is no default: everyone would be the same caller")
    return defaults


class JwtSettings(NullIsNothing):
    """Which tokens are accepted, and which claims say what."""

    nullable: ClassVar[frozenset[str]] = frozenset({"audience"})

    issuer: Annotated[Text, OneLine] = Field(examples=["https://login.example.com/"])
    """What `iss` must be, to the letter."""

    audience: Annotated[Texts | None, BeforeValidator(_audience)] = Field(
        default=_NOT_GIVEN, validate_default=True, examples=["gateway"]
    )
    """One of these must be in `aud`; null accepts all."""

    jwks: Annotated[Text, OneLine, AfterValidator(_location)] = Field(
        examples=["https://login.example.com/.well-known/jwks.json"]
    )
    """URL or file of the issuer's public keys."""

    algorithms: Annotated[Texts, AfterValidator(_algorithms)] = Field(default=DEFAULT_ALGORITHMS, examples=[["ES256"]])
    """The signatures that are accepted; only those with a public key."""

    leeway_seconds: Seconds = Field(default=30.0, examples=[10])
    """By how much the issuer's clock may be off."""

    refresh_seconds: Annotated[Seconds, AfterValidator(_refresh), Field(ge=1)] = Field(default=300.0, examples=[60])
    """How often the public keys are fetched again: the longest a withdrawn one is still good for."""

    claims: Annotated[Mapping[str, Any], AfterValidator(_claims)] = Field(
        default_factory=lambda: {"id": "sub"}, examples=[{"team": "org.team"}]
    )
    """From a field of a key to the claim that holds it, or to claims by the names inside it (`limits`).

    A claim is a name, or names with dots between from the outside in, and the number of one in a list: `groups.0`. The
    id is `sub` unless it says otherwise.
    """

    defaults: Annotated[Mapping[str, Any], AfterValidator(_defaults)] = Field(
        default_factory=dict, examples=[{"models": ["gpt-4o-mini"]}]
    )
    """Fields of a key that count where there is no such claim."""


def read_settings(value: Any, path: KeyPath = ("jwt",)) -> JwtSettings:
    """Raises `ConfigError`."""
    settings = read_section(JwtSettings, value, path)
    read_section(PolicySection, {"id": "-", **settings.defaults}, (*path, "defaults"))
    return settings
