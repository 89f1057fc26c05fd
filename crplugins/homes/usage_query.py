"""The query of a usage request."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from crplugins.homes.admin_errors import bad_field
from crplugins.ledger.question import Question, read_groups, read_moment

OWN_GROUPS: Final = ("model", "user", "outcome", "error_type", "day")
"""What a key may ask about: not who serves its requests, which an alias may hide."""


def read_question(
    parameters: Iterable[tuple[str, str]],
    groups: Sequence[str],
    now: datetime,
    *,
    default: str,
    only: Mapping[str, str] | None = None,
) -> Question:
    """`by`, `since`, `until`, and a value for each of `groups` but `day`. `only` comes on top, and always counts.

    Raises `GatewayError` 400 that names the parameter.
    """
    given: dict[str, str] = {}
    known = ("by", "since", "until", *(name for name in groups if name != "day"))
    for name, value in parameters:
        if name not in known:
            raise bad_field(name, f"is not known here, only {', '.join(known)}")
        if name in given:
            raise bad_field(name, "is given twice")
        given[name] = value
    since, until = _moment("since", given, now), _moment("until", given, now)
    if since and until and since >= until:
        raise bad_field("until", "must be later than 'since'")
    values = {name: value for name, value in given.items() if name in groups}
    return Question(_groups(given.get("by", default), groups), since, until, {**values, **(only or {})})


def _groups(text: str, groups: Sequence[str]) -> list[str]:
    try:
        return read_groups(text, groups)
    except ValueError as error:
        raise bad_field("by", str(error)) from None


def _moment(name: str, given: Mapping[str, str], now: datetime) -> datetime | None:
    try:
        return read_moment(given[name], now) if name in given else None
    except ValueError as error:
        raise bad_field(name, str(error)) from None
