"""Gemini's streams in its own format, which litellm's parser calls finished at every chunk."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from crplugins import Gateway, Usage, UsageRecord
from crplugins.testing import Answer, Drive, FakeProvider, lifespan
from tests.litellm_setup import asking

pytestmark = pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")
KEY = "sk-gemini-0123456789"


def piece(text: str | None = None, finish: str | None = None, **part: Any) -> dict[str, Any]:
    """One chunk of `streamGenerateContent`; its counts grow with the answer."""
    parts = [{"text": text} if text is not None else part] if text is not None or part else []
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 6, "candidatesTokenCount": 9, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


async def asked(serve: Any, chunks: Sequence[dict[str, Any]]) -> tuple[Answer, UsageRecord]:
    """What a client gets of a stream through the litellm handler, and its record."""

    async def stream(request: Request) -> StreamingResponse:
        lines = [f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks]

        async def body() -> Any:
            for line in lines:
                yield line

        return StreamingResponse(body(), media_type="text/event-stream")

    records: list[UsageRecord] = []
    async with serve(Starlette(routes=[Route("/{path:path}", stream, methods=["POST"])])) as url:
        params = {"model": "gemini/gemini-2.5-flash", "api_base": url, "api_key": "k"}
        gateway = Gateway(
            model_list=[{"model_name": "g", "handler": "litellm", "litellm_params": params}],
            keys=[{"id": "a", "secret": KEY}],
            plugins=[Usage(sinks=[records.append])],
        )
        body = {"model": "g", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with (
            lifespan(gateway, within=120),
            Drive(gateway, body=body, headers={"authorization": f"Bearer {KEY}"}) as call,
        ):
            answer = await call.finish(within=60)
    return answer, records[0]


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    events = [line.removeprefix("data: ") for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


def finishes(chunks: list[dict[str, Any]]) -> list[str]:
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ())]
    return [reason for reason in reasons if reason is not None]


async def test_an_ordinary_stream_arrives_whole(serve: Any) -> None:
    answer, record = await asked(serve, [piece("One "), piece("two "), piece("three"), piece(finish="STOP")])
    chunks = chunks_of(answer)
    assert (text_of(chunks), finishes(chunks)) == ("One two three", ["stop"])
    assert (record.outcome, record.usage.output_tokens, record.usage_source) == ("ok", 9, "provider")


async def test_a_finish_reason_on_every_chunk_ends_nothing(serve: Any) -> None:
    answer, _ = await asked(serve, [piece(word, "STOP") for word in ("One ", "two ", "three")])
    chunks = chunks_of(answer)
    assert (text_of(chunks), finishes(chunks)) == ("One two three", ["stop"])


async def test_two_function_calls_in_two_chunks_are_two_calls(serve: Any) -> None:
    made = [{"name": "clock", "args": {"city": city}} for city in ("Oslo", "Lima")]
    answer, _ = await asked(serve, [*(piece(functionCall=call) for call in made), piece(finish="STOP")])
    chunks = chunks_of(answer)
    calls = [
        call
        for chunk in chunks
        for choice in chunk.get("choices", ())
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert [(call["index"], json.loads(call["function"]["arguments"])["city"]) for call in calls] == [
        (0, "Oslo"),
        (1, "Lima"),
    ]
    assert len({call["id"] for call in calls}) == 2
    assert finishes(chunks) == ["tool_calls"]


async def test_two_equal_calls_are_two_in_the_turn_after_them(serve: Any) -> None:
    sent: list[dict[str, Any]] = []

    async def answer(request: Request) -> JSONResponse:
        sent.append(await request.json())
        return JSONResponse(piece("A pair.", "STOP"))

    dice = {"type": "function", "function": {"name": "throw", "arguments": '{"sides":6}'}}
    turn = [{"role": "assistant", "content": None, "tool_calls": [{"id": each, **dice} for each in ("a", "b")]}]
    results = [{"role": "tool", "tool_call_id": each, "content": "5"} for each in ("a", "b")]
    async with serve(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])) as url:
        async with asking(FakeProvider(), "gemini/gemini-2.5-flash", api_base=url, api_key="k") as asked:
            sent.clear()
            await asked.plain(messages=[{"role": "user", "content": "Throw two dice."}, *turn, *results])
    _, calls, told = sent[-1]["contents"]
    assert calls["parts"] == [{"function_call": {"name": "throw", "args": {"sides": 6}}}] * 2
    assert len(told["parts"]) == 2


async def test_a_stream_without_its_finish_reason_is_cut(serve: Any) -> None:
    answer, record = await asked(serve, [piece("One "), piece("two ")])
    *chunks, last = chunks_of(answer)
    assert text_of(chunks) == "One two "
    assert finishes(chunks) == []
    assert last["error"]["code"] == "upstream_incomplete"
    assert (record.outcome, record.error_type) == ("server_error", "upstream_stream_broken")
