"""JwtSettings: which tokens are accepted, and which claims say what.

jwt:
  issuer: https://login.example.com/
  audience: crplugins                    # null where tokens have none
  jwks: https://login.example.com/.well-known/jwks.json
  claims: {id: sub, team: org.team, models: gateway.models, limits: {requests_per_minute: gateway.rpm}}
  defaults: {models: [gpt-4o-mini], limits: {requests_per_minute: 60}}
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from crplugins.keys.entry import LONG_AGO
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, read_policy
from crplugins.keys.source import SecretRefused
from crplugins.keys.words import KeyPath, WordProblem, Words, WordsRefused

FAMILIES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA")
    | dict.fromkeys(("ES256", "ES384", "ES512", "ES256K"), "EC")
    | {"EdDSA": "OKP"}
)
"""The algorithms there are, each with the `kty` of its keys. Only those with a public key: a shared secret would let
everyone who can check a token make one, and `none` everyone."""

DEFAULT_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KEYS: Final = ("issuer", "audience", "jwks", "algorithms", "leeway_seconds", "refresh_seconds", "claims", "defaults")


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """What `read_settings` reads.

    Attributes:
        issuer: what `iss` must be, to the letter.
        audience: one of these must be in `aud`; None accepts every audience.
        jwks: URL or file of the issuer's public keys.
        leeway_seconds: by how much the issuer's clock may be off.
        refresh_seconds: how often the public keys are fetched again: the longest a withdrawn one is still good for.
        claims: from a field of a key to the claim that holds it, or to claims by the names inside it (`limits`). A
            claim is a name, or names with dots between from the outside in. The id is `sub` unless it says otherwise.
        defaults: fields of a key that count where there is no such claim.
    """

    issuer: str
    audience: tuple[str, ...] | None
    jwks: str
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    leeway_seconds: float = 30.0
    refresh_seconds: float = 300.0
    claims: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


def read_settings(value: Any, path: KeyPath = ("jwt",)) -> JwtSettings:
    """Raises `WordsRefused`."""
    problems: list[WordProblem] = []
    words = Words(value, _KEYS, path, problems)
    settings = JwtSettings(
        words.required_text("issuer"),
        _audience(words, given=isinstance(value, Mapping) and "audience" in value),
        words.required_text("jwks"),
        _algorithms(words),
        words.seconds("leeway_seconds", 30.0),
        words.seconds("refresh_seconds", 300.0),
        _claims(words),
        _defaults(words),
    )
    if problems:
        raise WordsRefused(problems)
    return settings


def _audience(words: Words, *, given: bool) -> tuple[str, ...] | None:
    if not given:
        words.refuse("audience", "is missing; write null if the issuer's tokens have none, and all of them may call")
    if isinstance(words.raw("audience"), str):
        audience = words.text("audience")
        return (audience,) if audience else None
    found = words.texts("audience")
    if found == ():
        words.refuse("audience", "must not be empty")
    return found


def _algorithms(words: Words) -> tuple[str, ...]:
    chosen = words.texts("algorithms")
    if chosen is not None and (not chosen or any(name not in FAMILIES for name in chosen)):
        words.refuse("algorithms", f"must be some of {', '.join(FAMILIES)}")
    return DEFAULT_ALGORITHMS if chosen is None else chosen


def _claims(words: Words) -> Mapping[str, Any]:
    """Where each field of a key is found."""
    claims = {"id": "sub", **words.mapping("claims")}
    for name, claim in claims.items():
        inner = claim.values() if isinstance(claim, Mapping) else [claim]
        if name not in POLICY_KEYS:
            words.refuse("claims", f"'{name}' is no field of a key; there are {', '.join(POLICY_KEYS)}")
        elif not all(isinstance(item, str) and item for item in inner):
            words.refuse("claims", f"'{name}' must be the name of a claim")
    return MappingProxyType(claims)


def _defaults(words: Words) -> Mapping[str, Any]:
    """Checked as a key's fields are."""
    defaults = words.mapping("defaults")
    if "id" in defaults:
        words.refuse("defaults", "an id is no default: everyone would be the same caller")
    read_policy(Words({"id": "-", **defaults}, POLICY_KEYS, (*words.path, "defaults"), words.problems))
    return MappingProxyType(dict(defaults))


logger = logging.getLogger("crplugins.keys")


def key_of(claims: Mapping[str, Any], secret: SecretDigest, settings: JwtSettings) -> Key:
    """The key that verified `claims` describe; it expires with the token, the leeway added.

    Raises `SecretRefused` if they do not fit; the log says which claim, without its value.
    """
    words = dict(settings.defaults)
    for name, claim in settings.claims.items():
        value = _value(claims, claim)
        if value is not None:
            words[name] = value.split() if name == "models" and isinstance(value, str) else value
    problems: list[WordProblem] = []
    principal = read_policy(Words(words, POLICY_KEYS, ("claims",), problems))
    leeway = timedelta(seconds=settings.leeway_seconds)
    expires, not_before = _moment(claims, "exp", problems), _moment(claims, "nbf", problems)
    if problems or expires is None:
        logger.warning("a token of %s was refused: %s", settings.issuer, WordsRefused(problems))
        raise SecretRefused("invalid_token", "This token does not say what a key needs.")
    return Key(
        principal,
        (secret,),
        _moment(claims, "iat", []) or LONG_AGO,
        not_before=not_before and not_before - leeway,
        expires=expires + leeway,
    )


def _value(claims: Mapping[str, Any], claim: str | Mapping[str, str]) -> Any:
    """The claim of that name; without one, by its parts: `org.team` is `team` inside `org`. None if there is none."""
    if isinstance(claim, Mapping):
        found = {name: _value(claims, inner) for name, inner in claim.items()}
        return {name: value for name, value in found.items() if value is not None} or None
    if claim in claims:  # names that are URLs have dots
        return claims[claim]
    value: Any = claims
    for part in claim.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _moment(claims: Mapping[str, Any], name: str, problems: list[WordProblem]) -> datetime | None:
    """A NumericDate (RFC 7519, section 2)."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        problems.append(WordProblem(("claims", name), "must be a number of seconds since 1970"))
        return None
