"""The query parameters of the gateway's own endpoints. What is wrong with one is 400, and names it."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from crplugins.homes.gateway.admin_token import bad_field
from crplugins.ledger.question import read_moment


def read_parameters(parameters: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Each by its name, once. Raises `GatewayError` 400 that names the parameter."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise bad_field(name, f"is not known here, only {', '.join(known)}")
        if name in given:
            raise bad_field(name, "is given twice")
        given[name] = value
    return given


def read_time(name: str, given: Mapping[str, str], now: datetime) -> datetime | None:
    """A time ago such as `7d`, or one in ISO 8601. Raises `GatewayError` 400."""
    try:
        return read_moment(given[name], now) if name in given else None
    except ValueError as error:
        raise bad_field(name, str(error)) from None
