"""key_of: the key that the claims of a verified token describe.

Identity providers send one and the same thing in several JSON types: a group alone or in a list, a number as text, a
subject as a number, scopes as one text or as a list. What a claim says is taken by its meaning for the field it is for,
and only what has none is refused. The log names the claim then, and never its value.
"""

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crplugins.keys.jwt.settings import JwtSettings
from crplugins.keys.key import LONG_AGO, Key, SecretDigest
from crplugins.keys.policy import PolicySection
from crplugins.keys.source import SecretRefused
from crplugins.keys.values import FIRST_MOMENT, LAST_MOMENT
from crplugins.settings.errors import ConfigError, Problem
from crplugins.settings.reading import try_section

logger = logging.getLogger("crplugins.keys")

PolicySection.prepare()

_ONE_TEXT: Final = frozenset({"id", "team", "owner", "on_disconnect", "missing_usage", "priority"})
_SEPARATORS: Final = re.compile(r"[\s,]+")
_NO_NUMBER: Final = "nan"


def key_of(claims: Mapping[str, Any], secret: SecretDigest, settings: JwtSettings) -> Key:
    """The key that verified `claims` describe; it expires with the token, the leeway added.

    Raises `SecretRefused` if they do not fit; the log says which claim, without its value.
    """
    problems: list[Problem] = []
    words = dict(settings.defaults)
    for name, claim in settings.claims.items():
        value = _meaning(name, _value(claims, claim), problems)
        if value is not None:
            words[name] = value
    leeway = timedelta(seconds=settings.leeway_seconds)
    policy, wrong = try_section(PolicySection, words, ("claims",))
    problems += wrong
    expires, not_before = _moment(claims, "exp", problems), _moment(claims, "nbf", problems)
    if policy is None or expires is None or problems:
        reasons = ", ".join(str(ConfigError([problem])) for problem in problems)
        logger.warning("a token of %s was refused: %s", settings.issuer, reasons)
        raise SecretRefused("invalid_token", "This token does not say what a key needs.")
    return Key(
        policy.principal(),
        (secret,),
        _moment(claims, "iat", []) or LONG_AGO,
        not_before=not_before and _moved(not_before, -leeway),
        expires=_moved(expires, leeway),
    )


def _value(claims: Mapping[str, Any], claim: str | Mapping[str, str]) -> Any:
    """The claim of that name; without one, by its parts: `org.team` is `team` inside `org`. None if there is none."""
    if isinstance(claim, Mapping):
        found = {name: _value(claims, inner) for name, inner in claim.items()}
        return {name: value for name, value in found.items() if value is not None} or None
    return _inside(claims, claim.split("."))


def _inside(value: Any, parts: list[str]) -> Any:
    """Names have dots themselves, such as URLs and the clients of Keycloak: the longest that is there is meant."""
    if not parts:
        return value
    if isinstance(value, list) and parts[0].isdecimal():
        index = int(parts[0]) if len(parts[0]) < 10 else len(value)
        return _inside(value[index], parts[1:]) if index < len(value) else None
    if not isinstance(value, Mapping):
        return None
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in value:
            return _inside(value[name], parts[length:])
    return None


def _meaning(name: str, value: Any, problems: list[Problem]) -> Any:
    """What `value` says for the field `name` of a key; None if nothing."""
    if name in _ONE_TEXT:
        return _one_text(name, value, problems)
    if name == "models":
        return _texts(value)
    if name == "tags" and isinstance(value, Mapping):
        return {tag: _joined(item) for tag, item in value.items() if item is not None}
    if name == "weight":
        return _number(_only(value))
    if isinstance(value, Mapping) and name in ("limits", "budget"):
        return {inner: _number(_only(item)) for inner, item in value.items()}
    return _only(value)


def _one_text(name: str, value: Any, problems: list[Problem]) -> Any:
    """Of a list the first, which for an id must be the only one: who somebody is cannot depend on an order."""
    if isinstance(value, list):
        if len(value) > 1 and name == "id":
            problems.append(Problem(("claims", name), "must be one text, not a list of several"))
        value = value[0] if value else None
    text = None if isinstance(value, bool) else _text(value)
    if value is not None and text is None:
        problems.append(Problem(("claims", name), "must be text or a number"))
    return text or None


def _texts(value: Any) -> Any:
    """The names in a text with spaces or commas between (RFC 8693, `scope`), or in a list, also of such texts.

    Without a name in it, it says that there is none, which is not the same as saying nothing.
    """
    items = value if isinstance(value, list) else [value]
    texts = [_text(item) for item in items]
    if value is None or None in texts:
        return value  # nothing, or what is refused
    return [name for text in texts if text for name in _SEPARATORS.split(text) if name]


def _joined(value: Any) -> Any:
    """The text of a tag: of a list, its texts with commas between."""
    texts = [_text(item) for item in (value if isinstance(value, list) else [value])]
    return value if None in texts else ",".join(text for text in texts if text is not None)


def _only(value: Any) -> Any:
    """What a list of one holds; of an empty one, nothing."""
    if isinstance(value, list) and len(value) < 2:
        return value[0] if value else None
    return value


def _number(value: Any) -> Any:
    """A number that is written as text, or as a float."""
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _text(value: Any) -> str | None:
    """Texts, whole numbers and truth values as text; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    value = _number(value)
    return str(value) if isinstance(value, str | int) else None


def _moment(claims: Mapping[str, Any], name: str, problems: list[Problem]) -> datetime | None:
    """A NumericDate (RFC 7519, section 2), also as text."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(_NO_NUMBER if isinstance(value, bool) else value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        problems.append(Problem(("claims", name), "must be a number of seconds since 1970, before the year 10000"))
        return None


def _moved(moment: datetime, by: timedelta) -> datetime:
    """`moment + by`, kept between the years 1 and 9999, which are as good as never."""
    try:
        return moment + by
    except OverflowError:
        return LAST_MOMENT if by > timedelta(0) else FIRST_MOMENT
