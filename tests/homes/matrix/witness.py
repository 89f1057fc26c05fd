"""Plugins of one's own in every home: two that write down the life of each request, and one that refuses some."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from crplugins import Exchange, GatewayError, Plugin, Reply

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


class OwnCache(Plugin):
    """Answers by itself, in place of a provider, whoever asks for it with a header."""

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(FROM_CACHE.encode()) is None:
            return
        exchange.from_cache = True
        if exchange.stream:
            exchange.reply = Reply(200, [(b"content-type", b"text/event-stream")], _replay())
        else:
            exchange.reply = Reply(200, [(b"content-type", b"application/json")], json.dumps(_DOCUMENT).encode())


FROM_CACHE = "x-from-cache"
REMEMBERED = {"prompt_tokens": 5000, "completion_tokens": 2, "total_tokens": 5002}
_DOCUMENT = {
    "id": "chatcmpl-kept",
    "object": "chat.completion",
    "created": 1,
    "model": "fake-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "As before."}, "finish_reason": "stop"}],
    "usage": REMEMBERED,
}


async def _replay() -> AsyncGenerator[bytes, None]:
    delta = {"index": 0, "delta": {"role": "assistant", "content": "As before."}, "finish_reason": "stop"}
    chunk = {**_DOCUMENT, "object": "chat.completion.chunk", "choices": [delta]}
    yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def entries(folder: Path) -> list[dict[str, Any]]:
    """`plugins` of a configuration."""
    return [
        {"use": f"{HERE}.Outermost", "before": "Metrics", "folder": str(folder)},
        {"use": f"{HERE}.Blocklist", "after": "Metrics"},
        {"use": f"{HERE}.Innermost", "folder": str(folder)},
        {"use": f"{HERE}.OwnCache"},
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
