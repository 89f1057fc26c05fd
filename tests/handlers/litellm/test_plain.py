"""Plain answers through litellm: those that are none, the longest that is read, and streams in place of them."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from crplugins import Gateway, Usage, UsageRecord
from crplugins.core.errors import GatewayError
from crplugins.handlers import whole_answer
from crplugins.handlers.litellm import plain
from crplugins.testing import Drive, FakeProvider, Script, lifespan
from tests.litellm_setup import Asked, asking

pytestmark = pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")

OPENAIS_WIRE = ["openai/m", "hosted_vllm/m", "mistral/m", "deepseek/m", "openrouter/m"]
"""OpenAI's SDK, litellm's own client, and parsers of the providers."""
OTHER_WIRES = ["anthropic/m", "gemini/m", "cohere_chat/m", "ollama_chat/m"]
PROVIDERS = [*OPENAIS_WIRE, *OTHER_WIRES]
KEY = "sk-plain-0123456789"
NONE: dict[str, bytes] = {
    "code and msg": b'{"code":1301,"msg":"not today"}',
    "a null for choices": b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":null}',
    "a list without choices": b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}',
    "choices that are no objects": b'{"id":"c","choices":[7]}',
    "HTML": b"<html><title>Sign in</title></html>",
    "nothing": b"",
    "a blank line": b"\r\n",
    "null": b"null",
    "a list": b"[1,2]",
    "a text": b'"hello"',
    "an empty object": b"{}",
    "half a document": b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","con',
}


def document(text: str = "Good day.") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    fields = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


@asynccontextmanager
async def answered(
    model: str, body: bytes, content_type: str = "application/json", **headers: str
) -> AsyncIterator[Asked]:
    """A handler for `model` whose provider answers every path with a 200 and `body`."""
    lines = {"content-type": content_type, "content-length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((line for line in request.split("\r\n") if line.startswith("content-length:")), ":0")
        await reader.readexactly(int(length.partition(":")[2]))
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, FakeProvider() as provider:
        port = server.sockets[0].getsockname()[1]
        async with asking(provider, model, api_base=f"http://127.0.0.1:{port}/v1") as asked:
            yield asked


async def refusal_of(model: str, body: bytes, **headers: str) -> GatewayError:
    async with answered(model, body, **headers) as asked:
        refusal = await asked.refusal()
        assert asked.exchange.attempts[-1].error_type == refusal.error_type
        return refusal


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize("body", NONE.values(), ids=NONE)
async def test_an_answer_that_is_no_completion_is_the_providers_failure(model: str, body: bytes) -> None:
    refusal = await refusal_of(model, body)
    assert (refusal.status, refusal.error.code) == (502, "upstream_malformed")
    assert refusal.error_type == "upstream_stream_broken"


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"code":429,"msg":"not so fast"}', 429, "rate_limit_exceeded"),
        (b'{"code":"503","message":"come back"}', 503, "upstream_error"),
        (b'{"error":{"code":429,"message":"not so fast"}}', 429, "rate_limit_exceeded"),
        (b'[{"error":{"code":429,"message":"not so fast"}}]', 429, "rate_limit_exceeded"),
        (b'{"status_code":401,"message":"who are you"}', 502, "upstream_auth"),
        (b'{"error":"no"}', 502, "upstream_error"),
    ],
)
async def test_a_status_that_the_body_names_is_the_status(model: str, body: bytes, status: int, code: str) -> None:
    refusal = await refusal_of(model, body)
    assert (refusal.status, refusal.error.code) == (status, code)


async def test_an_answer_that_is_none_fails_over() -> None:
    records: list[UsageRecord] = []
    async with FakeProvider(default=Script(body=b'{"code":1301,"msg":"no"}')) as broken, FakeProvider() as whole:
        settings = {"model": "openai/m", "api_key": "sk-upstream"}
        served = [
            {"model_name": "m", "handler": "litellm", "litellm_params": {**settings, "api_base": provider.base_url}}
            for provider in (broken, whole)
        ]
        gateway = Gateway(model_list=served, keys=[{"id": "a", "secret": KEY}], plugins=[Usage(sinks=[records.append])])
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": f"Bearer {KEY}"}
        async with lifespan(gateway, within=120), Drive(gateway, body=body, headers=headers) as call:
            assert (await call.finish(within=60)).status == 200
        assert (len(broken.requests), len(whole.requests)) == (1, 1)
    assert (records[0].attempts, records[0].error_type) == (2, "")


@pytest.mark.parametrize("model", [*OPENAIS_WIRE, "anthropic/m"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_an_answer_has_a_longest_length_also_after_decompression(
    model: str, packed: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (plain, whole_answer):  # by whose client it is read
        monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", 100_000)
    body = json.dumps(document("x" * 2_000_000)).encode()
    headers = {"content-encoding": "gzip"} if packed else {}
    with caplog.at_level(logging.WARNING, "crplugins.upstream"):
        refusal = await refusal_of(model, gzip.compress(body) if packed else body, **headers)
    assert (refusal.status, refusal.error.code) == (502, "upstream_malformed")
    assert "more than 100000 bytes" in caplog.text


def in_members(body: bytes) -> bytes:
    return b"".join(gzip.compress(body[start : start + 9]) for start in range(0, len(body), 9))


PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "gzip, identity": in_members}


@pytest.mark.parametrize("model", OPENAIS_WIRE)
@pytest.mark.parametrize("encoding", PACKED)
async def test_a_packed_answer_within_the_bound_is_read(model: str, encoding: str) -> None:
    body = PACKED[encoding](json.dumps(document()).encode())
    async with answered(model, body, **{"content-encoding": encoding}) as asked:
        assert (await asked.plain())["choices"][0]["message"]["content"] == "Good day."


@pytest.mark.parametrize("model", [*OPENAIS_WIRE, "anthropic/m"])
async def test_a_body_that_is_not_packed_as_it_says_is_the_providers_failure(model: str) -> None:
    refusal = await refusal_of(model, json.dumps(document()).encode(), **{"content-encoding": "gzip"})
    assert refusal.status == 502


@pytest.mark.parametrize("model", OPENAIS_WIRE)
@pytest.mark.parametrize(
    "around", [(b": wait\n\n", b""), (b"\r\n\r\n", b"\n"), (b"", b"\x00\x00"), (b"\xef\xbb\xbf", b"{}")]
)
async def test_what_stands_around_a_document_is_not_read(model: str, around: tuple[bytes, bytes]) -> None:
    async with answered(model, around[0] + json.dumps(document()).encode() + around[1]) as asked:
        assert (await asked.plain())["choices"][0]["message"]["content"] == "Good day."


@pytest.mark.parametrize("model", OPENAIS_WIRE)
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/plain"])
async def test_a_stream_in_place_of_a_document_becomes_one(model: str, content_type: str) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ": 1}"}}
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    events = [
        b": hello\n\n", chunk({"role": "assistant", "content": "Good "}), b"data: {}\n\n", chunk({"content": "day."}),
        chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls", usage=usage),
        b"data: [DONE]\n\n",
    ]  # fmt: skip
    async with answered(model, b"".join(events), content_type) as asked:
        answer = await asked.plain()
        assert asked.exchange.usage is not None
        assert (asked.exchange.usage.output_tokens, asked.exchange.usage_source) == (3, "provider")
    choice = answer["choices"][0]
    assert (answer["object"], choice["finish_reason"]) == ("chat.completion", "tool_calls")
    assert choice["message"]["content"] == "Good day."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a": 1}'}


@pytest.mark.parametrize("model", OPENAIS_WIRE)
async def test_a_cut_stream_in_place_of_a_document_is_no_answer(model: str) -> None:
    cut = await refusal_of(model, chunk({"role": "assistant", "content": "Good "}) + b"data: [DONE]\n\n")
    assert (cut.status, cut.error.code) == (502, "upstream_incomplete")
    silent = await refusal_of(model, b"data: {}\n\ndata: [DONE]\n\n")
    assert (silent.status, silent.error.code) == (502, "upstream_incomplete")
    failed = await refusal_of(model, chunk({"content": "Good "}) + b'data: {"error":{"code":429,"message":"slow"}}\n\n')
    assert failed.status == 429


@pytest.mark.parametrize("model", OTHER_WIRES)
async def test_a_stream_in_another_wire_in_place_of_a_document_is_the_providers_failure(model: str) -> None:
    refusal = await refusal_of(model, b'event: message_start\ndata: {"type":"message_start"}\n\n')
    assert (refusal.status, refusal.error.code) == (502, "upstream_malformed")


async def test_other_requests_of_the_process_are_not_looked_at() -> None:
    async with answered("openai/m", b"<html></html>") as asked, FakeProvider() as provider:
        await asked.refusal()
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{provider.base_url}/none", content=b"")
    assert answer.status_code == 404


ODD: dict[str, dict[str, Any]] = {
    "a text in parts": {"content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}]},
    "a thought among the parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
            {"type": "text", "text": "Good day."},
        ]
    },
}


@pytest.mark.parametrize("model", OPENAIS_WIRE)
@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
async def test_parts_in_the_place_of_a_text_are_told_as_a_text(model: str, message: dict[str, Any]) -> None:
    odd = document()
    odd["choices"][0]["message"] |= message
    async with answered(model, json.dumps(odd).encode()) as asked:
        told = (await asked.plain())["choices"][0]["message"]
    assert told["content"] == "Good day."
    assert told.get("reasoning_content", "") == ("Hm." if "thinking" in json.dumps(message) else "")


@pytest.mark.parametrize("model", OPENAIS_WIRE)
async def test_halves_of_tokens_are_no_reason_to_lose_an_answer(model: str) -> None:
    odd = document()
    odd["usage"] = {"prompt_tokens": 4.0, "completion_tokens": 3.5, "total_tokens": 7.5}
    async with answered(model, json.dumps(odd).encode()) as asked:
        told = await asked.plain()
    assert told["choices"][0]["message"]["content"] == "Good day."
