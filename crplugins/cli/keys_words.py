"""The options that describe a key, as words of a configuration."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from crplugins.keys.policy import LIMIT_KEYS
from crplugins.keys.secrets import has_valid_checksum

_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """`24h`, `7d`, `30m`, `45s`, `2w`, and `0`."""
    match = _DURATION.fullmatch(text)
    if match is None and text != "0":
        raise typer.BadParameter(f"'{text}' is no duration such as 24h, 7d or 30m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()


def key_id(text: str) -> str:
    """An id. A secret in its place is not repeated, as an unknown id would be."""
    if has_valid_checksum(text):
        raise typer.BadParameter("this is a secret; the key's id is wanted")
    return text


IdOption = Annotated[str, typer.Option("--id", parser=key_id, metavar="ID", help="The key's name for good.")]
IdArgument = Annotated[str, typer.Argument(parser=key_id, metavar="ID", help="The key's id.")]
TeamOption = Annotated[str | None, typer.Option(help="The team it belongs to.")]
OwnerOption = Annotated[str | None, typer.Option(help="Who answers for it.")]
TagOption = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label of yours; may be repeated.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A model it may call, wildcards allowed; may be repeated. Without: all."),
]
ExpiresOption = Annotated[str | None, typer.Option(metavar="DATE", help="Its end, such as 2027-01-01 (UTC).")]
NotBeforeOption = Annotated[str | None, typer.Option(metavar="DATE", help="Its beginning.")]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=N", help=f"A limit; may be repeated. Kinds: {', '.join(LIMIT_KEYS)}."),
]
BudgetOption = Annotated[
    str | None, typer.Option(metavar="usd=N/PERIOD", help="Such as usd=50/month; also day, week, total.")
]


def words_of(
    *, tag: Iterable[str] | None, model: list[str] | None, limit: Iterable[str] | None, budget: str | None, **plain: Any
) -> dict[str, Any]:
    """The words of the options that were given."""
    words = {
        **plain,
        "tags": dict(_pair(text, "--tag") for text in tag or ()),
        "models": model,
        "limits": {name: _whole(value) for name, value in (_pair(text, "--limit") for text in limit or ())},
        "budget": budget and _budget(budget),
    }
    return {name: value for name, value in words.items() if value not in (None, {}, [])}


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise typer.BadParameter(f"'{text}' is not of the form name=value", param_hint=option)
    return name, value


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _budget(text: str) -> Mapping[str, str]:
    amount, slash, period = text.removeprefix("usd=").partition("/")
    if not (text.startswith("usd=") and slash):
        raise typer.BadParameter(f"'{text}' is not of the form usd=50/month", param_hint="--budget")
    return {"usd": amount, "period": period}
