"""Plugins of one's own in every home: two that write down the life of each request, and one that refuses some."""

from collections import Counter
from pathlib import Path
from typing import Any

from crplugins import Exchange, GatewayError, Plugin

BLOCKED = "x-blocked"
HERE = "tests.homes.matrix.witness"


class Witness(Plugin):
    """Writes a line when a request enters it and one when it is finished."""

    observes = True
    place = ""

    def __init__(self, *, folder: str) -> None:
        self._file = Path(folder, f"{self.place}.life")

    async def on_request(self, exchange: Exchange) -> None:
        self._write("entered", exchange)

    def on_finish(self, exchange: Exchange) -> None:
        assert exchange.outcome is not None, "how it ended is decided before"
        self._write("finished", exchange)

    def _write(self, what: str, exchange: Exchange) -> None:
        with self._file.open("a") as file:
            file.write(f"{what} {exchange.id}\n")


class Outermost(Witness):
    place = "outermost"


class Innermost(Witness):
    place = "innermost"


class Blocklist(Plugin):
    """Stands outside Auth, and refuses whom it does not want whether or not they have a key."""

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(BLOCKED.encode()) is not None:
            raise GatewayError(403, "Your address is blocked.", code="address_blocked")


def entries(folder: Path) -> list[dict[str, Any]]:
    """`plugins` of a configuration."""
    return [
        {"use": f"{HERE}.Outermost", "before": "Metrics", "folder": str(folder)},
        {"use": f"{HERE}.Blocklist", "after": "Metrics"},
        {"use": f"{HERE}.Innermost", "folder": str(folder)},
    ]


def lives(folder: Path, place: str) -> tuple[Counter[str], Counter[str]]:
    """How often each request has entered the witness, and how often it has finished."""
    file = folder / f"{place}.life"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    entered = Counter(request for what, request in lines if what == "entered")
    return entered, Counter(request for what, request in lines if what == "finished")


def unfinished(folder: Path) -> list[str]:
    """Requests that have not finished exactly once in each witness that they have entered."""
    found = []
    for place in (Outermost.place, Innermost.place):
        entered, finished = lives(folder, place)
        found += [f"{request} in {place}" for request in entered | finished if entered[request] != finished[request]]
        found += [f"{request} twice in {place}" for request, times in finished.items() if times != 1]
    return found
