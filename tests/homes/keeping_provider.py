"""A provider that keeps responses, each for the account that made it, as OpenAI does."""

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from tests.asgi_body import request_body
from tests.core.dialects.responses_streams import SHAPES, Wire, frames, numbered, response

NOT_FOUND = "Response with id '{}' not found."


class KeepingProvider:
    """An ASGI app. `kept` has the responses by account and id, `asked` the method, path, query and body of requests.

    A response in the background is `in_progress` until `end` is called, or it is cancelled.

    Args:
        knows_nobody: whoever asks has one account, as in front of a model server.
    """

    def __init__(self, name: str = "a", *, knows_nobody: bool = False) -> None:
        self.name, self._knows_nobody = name, knows_nobody
        self.kept: dict[tuple[str, str], Wire] = {}
        self.asked: list[tuple[str, str, str, Wire]] = []
        self.down = False
        self.slow = 0.0  # seconds before it answers
        self.began = asyncio.Event()  # one runs in the background
        self.running: dict[str, Wire] = {}
        self._numbers = count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        account = "" if self._knows_nobody else dict(scope["headers"]).get(b"authorization", b"").decode()
        query = scope["query_string"].decode()
        told = json.loads(body) if body else {}
        self.asked.append((scope["method"], scope["path"], query, told))
        await asyncio.sleep(self.slow)
        status, answer = self._answer(scope["method"], scope["path"], query, account, told)
        kind = b"application/json" if isinstance(answer, dict) else b"text/event-stream"
        data = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": data})

    def end(self, **facts: Any) -> None:
        """All that runs in the background has ended, with these facts in the place of those of a success."""
        for (account, own), whole in self.kept.items():
            if own in self.running:
                self.kept[account, own] = whole | self.running.pop(own) | facts

    def _answer(self, method: str, path: str, query: str, account: str, told: Wire) -> tuple[int, Wire | bytes]:
        if self.down:
            return 503, {"error": {"message": "Down.", "type": "server_error"}}
        _, version, base, *below = path.split("/")
        assert (version, base) == ("v1", "responses")
        if not below:
            return self._create(account, told)
        whole = self.kept.get((account, below[0]))
        if whole is None:
            return 404, _error(NOT_FOUND.format(below[0]))
        if method == "DELETE":
            del self.kept[account, below[0]]
            return 200, {"id": below[0], "object": "response", "deleted": True}
        if below[1:] == ["cancel"]:
            self.running.pop(below[0], None)
            self.kept[account, below[0]] = whole | {"status": "cancelled"}
            return 200, self.kept[account, below[0]]
        if below[1:] == ["input_items"]:
            return 200, {"object": "list", "data": [{"id": "msg_0", "type": "message"}], "has_more": False}
        if "stream=true" in query:
            after = int(parse_qs(query).get("starting_after", ["-1"])[0])
            return 200, frames(event for event in _events(whole) if event["sequence_number"] > after)
        return 200, whole

    def _create(self, account: str, told: Wire) -> tuple[int, Wire | bytes]:
        previous = told.get("previous_response_id")
        if previous is not None and (account, previous) not in self.kept:
            return 400, _error(f"Previous response with id '{previous}' not found.", "previous_response_not_found")
        own = f"resp_{self.name}{next(self._numbers)}"
        whole = response(SHAPES["text"].output, id=own, previous_response_id=previous, model=told["model"])
        if told.get("background"):
            self.running[own] = whole
            self.began.set()
            whole = whole | {"background": True, "status": "in_progress", "output": [], "usage": None}
            self.kept[account, own] = whole
            if told.get("stream"):  # and the connection breaks
                return 200, frames(numbered([{"type": "response.created", "response": whole}]))
            return 200, whole | {"status": "queued"}
        if told.get("store") is not False:
            self.kept[account, own] = whole
        return 200, frames(_events(whole)) if told.get("stream") else whole


def _error(message: str, code: str | None = None) -> Wire:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _events(whole: Wire) -> Iterator[Wire]:
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield from numbered(
        [
            {"type": "response.created", "response": begun},
            *SHAPES["text"].events,
            {"type": "response.completed", "response": whole},
        ]
    )
