"""Apps of other people behind our middleware: plain Starlette, which knows nothing of us."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.integration.metering_setup import PATH

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def openai_like(options: Any) -> tuple[int, Any]:
    error = {"message": "Unrecognized request argument supplied: stream_options", "type": "invalid_request_error"}
    return 400, {"error": {**error, "param": "stream_options", "code": None}}


def fastapi_like(options: Any) -> tuple[int, Any]:
    where = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
    return 422, {"detail": [{**where, "input": options}]}


Refusal = Callable[[Any], tuple[int, Any]]


class RelayingApp:
    """Answers each request with the recording its model names, in pieces of `size` bytes or all in one."""

    def __init__(self, recordings: Mapping[str, bytes], size: int | None = None) -> None:
        self.bodies: list[Any] = []
        self._recordings = recordings
        self._size = size
        self.app = Starlette(routes=[Route(PATH, self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        return StreamingResponse(self._pieces(self._recordings[body["model"]]), media_type="text/event-stream")

    async def _pieces(self, recording: bytes) -> AsyncIterator[bytes]:
        size = self._size or len(recording)
        for start in range(0, len(recording), size):
            yield recording[start : start + size]


class RefusingApp:
    """Refuses what `refuses` says of a request's `stream_options`, and streams an answer to everybody else.

    `bodies` are those it was asked with, by model.
    """

    def __init__(self, refusal: Refusal, refuses: Callable[[Any], bool]) -> None:
        self.bodies: dict[str, list[Any]] = {}
        self._refusal, self._refuses = refusal, refuses
        self.app = Starlette(routes=[Route(PATH, self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.setdefault(body["model"], []).append(body)
        if "stream_options" in body and self._refuses(body):
            status, error = self._refusal(body["stream_options"])
            return JSONResponse(error, status)
        asked = (body.get("stream_options") or {}).get("include_usage") is True
        return StreamingResponse(iter(_stream(usage=asked)), media_type="text/event-stream")


def _stream(*, usage: bool) -> list[bytes]:
    said = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]}
    ended = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    counted = [{**CHUNK, "choices": [], "usage": USAGE}] if usage else []
    return [*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in (said, ended, *counted)), b"data: [DONE]\n\n"]
