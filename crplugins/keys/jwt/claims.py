"""From the claims of a token to a Key."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crplugins.keys.entry import LONG_AGO
from crplugins.keys.jwt.settings import JwtSettings
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, read_policy
from crplugins.keys.source import SecretRefused
from crplugins.keys.words import WordProblem, Words, WordsRefused

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
