"""A stream that breaks is rescued in every protocol, and the official SDKs read one answer of it.

Each of the two deployments is asked as it is, or in chat completions, which are translated.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest

from crplugins import TokenUsage
from crplugins.testing import Script
from tests.gateway_setup import CLIENT_KEY
from tests.handlers.routing.books import Books, books, usage

PROTOCOLS = ("responses", "messages", "completions")
ROADS = [("native", "native"), ("native", "translated"), ("translated", "translated")]
"""One that speaks the protocol is asked before one that does not."""

FIRST = "".join(f" {number:03}" for number in range(40))
REST = " and the rest"
INFO = {
    "native": {"supports_assistant_prefill": True},
    "translated": {"supports_assistant_prefill": True, "supported_endpoints": ["/v1/chat/completions"]},
}
SHOWN = 12
"""Frames behind which the first deployment breaks: some words, in each protocol."""


@dataclass
class Seen:
    """What a client has read with the SDK of its protocol."""

    text: str = ""
    events: list[Any] = field(default_factory=list)
    answer: Any = None
    error: Exception | None = None
    tokens: tuple[int, int] | None = None

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]


async def ask(kept: Books, protocol: str, **more: Any) -> Seen:
    url, seen = kept.gateway.url, Seen()
    try:
        if protocol == "messages":
            await _messages(url, seen, more)
        else:
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=CLIENT_KEY, max_retries=0) as sdk:
                await (_responses if protocol == "responses" else _completions)(sdk, seen, more)
    except (openai.APIError, anthropic.APIError) as error:
        seen.error = error
    await kept.over()
    return seen


async def _messages(url: str, seen: Seen, more: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}], **more}
    async with (
        anthropic.AsyncAnthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0) as sdk,
        sdk.messages.stream(**asked) as stream,
    ):
        async for event in stream:
            seen.events.append(event)
            seen.text += event.text if event.type == "text" else ""
        seen.answer = await stream.get_final_message()
        used = seen.answer.usage
        seen.tokens = (used.input_tokens, used.output_tokens)


async def _responses(sdk: openai.AsyncOpenAI, seen: Seen, more: dict[str, Any]) -> None:
    async with sdk.responses.stream(model="m", input="Hi", **{"store": False, **more}) as stream:
        async for event in stream:
            seen.events.append(event)
            seen.text += event.delta if event.type == "response.output_text.delta" else ""
        seen.answer = await stream.get_final_response()
        used = seen.answer.usage
        seen.tokens = used and (used.input_tokens, used.output_tokens)


async def _completions(sdk: openai.AsyncOpenAI, seen: Seen, more: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "m", "prompt": "Hi", "max_tokens": 500, **more}
    stream = await sdk.completions.create(stream=True, stream_options={"include_usage": True}, **asked)
    async for chunk in stream:
        seen.events.append(chunk)
        seen.text += "".join(choice.text for choice in chunk.choices)
        if chunk.usage is not None:
            seen.tokens = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)


def is_one_answer(seen: Seen, protocol: str, text: str) -> None:
    """What the client has read is one answer with this text, by every rule of its protocol."""
    assert seen.error is None, seen.error
    assert seen.text == text
    if protocol == "completions":
        assert len({(each.id, each.created, each.object) for each in seen.events}) == 1
        assert [choice.finish_reason for each in seen.events for choice in each.choices if choice.finish_reason] == [
            "stop"
        ]
        return
    if protocol == "messages":
        assert "".join(block.text for block in seen.answer.content if block.type == "text") == text
        assert seen.answer.stop_reason == "end_turn"
        assert [seen.kinds.count(each) for each in ("message_start", "message_delta", "message_stop")] == [1, 1, 1]
        assert seen.kinds.count("content_block_start") == seen.kinds.count("content_block_stop")
        return
    assert (seen.answer.output_text, seen.answer.status) == (text, "completed")
    numbered = [event.sequence_number for event in seen.events]
    assert numbered == [*range(len(numbered))]
    assert [seen.kinds.count(f"response.{each}") for each in ("created", "completed")] == [1, 1]
    assert seen.kinds.count("response.output_item.added") == seen.kinds.count("response.output_item.done")
    assert len({event.response.id for event in seen.events if hasattr(event, "response")}) == 1
    assert len({event.item_id for event in seen.events if event.type == "response.output_text.delta"}) == 1


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ROADS, ids="-".join)
def road(request: pytest.FixtureRequest) -> Any:
    return request.param


@asynccontextmanager
async def served(serve: Any, road: Any, on_break: str, **params: Any) -> AsyncIterator[Books]:
    """Two deployments, of which the first is asked first."""
    infos = [INFO[each] for each in road]
    settings = {"on_break": on_break, "num_retries": 0, **params}
    async with books(serve, ("direct", "direct"), params=settings, infos=infos) as kept:
        yield kept


BREAKS: dict[str, dict[str, Any]] = {
    "cut": {"cut_after": SHOWN},
    "closed": {"close_after": SHOWN},
    "reset": {"reset_after": SHOWN},
    "stall": {"stall_after": SHOWN},
    "error": {"error_after": SHOWN},
}


@pytest.mark.parametrize("how", BREAKS)
async def test_what_breaks_before_it_is_shown_is_answered_whole_by_the_next_one(
    serve: Any, protocol: str, road: Any, how: str
) -> None:
    async with served(serve, road, "restart", stall_timeout=0.5) as kept:
        kept.providers[0].default = Script(text=FIRST, chunk_size=4, usage="off", **BREAKS[how])
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        seen = await ask(kept, protocol)
        is_one_answer(seen, protocol, "all is well")
        first = kept.watcher.exchange.spent[0].usage
        assert first.output_tokens > 0
        assert seen.tokens == (first.input_tokens + 20, first.output_tokens + 3)
        await kept.agree(first, TokenUsage(20, 3), source="estimated")
        assert (kept.calls, kept.record.outcome, kept.watcher.exchange.rescues) == ([1, 1], "ok", ("restart",))


@pytest.mark.parametrize("how", BREAKS)
async def test_what_breaks_when_it_has_been_shown_goes_on_at_the_next_one(
    serve: Any, protocol: str, road: Any, how: str
) -> None:
    async with served(serve, road, "continue", stall_timeout=0.5) as kept:
        kept.providers[0].default = Script(text=FIRST, chunk_size=4, usage="off", **BREAKS[how])
        kept.providers[1].default = Script(text=REST, usage_object=usage(60, 4))
        seen = await ask(kept, protocol)
        assert seen.text.endswith(REST), seen.text
        begun = seen.text.removesuffix(REST)
        assert begun
        assert FIRST.startswith(begun)
        is_one_answer(seen, protocol, begun + REST)
        asked = kept.providers[1].last_request.json
        if protocol == "completions" and road[1] == "native":
            assert asked["prompt"] == "Hi" + begun
        else:
            assert asked["messages"][-1] == {"role": "assistant", "content": begun}
        first = kept.watcher.exchange.spent[0].usage
        assert first.output_tokens == len(begun) // 4
        assert seen.tokens == (first.input_tokens + 60, first.output_tokens + 4)
        await kept.agree(first, TokenUsage(60, 4), source="estimated")
        assert (kept.calls, kept.record.outcome, kept.watcher.exchange.rescues) == ([1, 1], "ok", ("continue",))


async def test_a_stream_that_breaks_twice_goes_on_twice(serve: Any, protocol: str) -> None:
    infos = [INFO["native"], INFO["translated"], INFO["translated"]]
    handlers = ("direct", "direct", "litellm")
    async with books(serve, handlers, params={"on_break": "continue", "num_retries": 0}, infos=infos) as kept:
        for provider in kept.providers[:2]:
            provider.default = Script(text=FIRST, chunk_size=4, usage="off", close_after=SHOWN)
        kept.providers[2].default = Script(text=REST, usage_object=usage(60, 4))
        seen = await ask(kept, protocol)
        assert seen.text.endswith(REST)
        assert kept.providers[2].last_request.json["messages"][-1]["content"] == seen.text.removesuffix(REST)
        assert seen.text.count(" 003") == 2
        is_one_answer(seen, protocol, seen.text)
        parts = [each.usage for each in kept.watcher.exchange.spent]
        assert len(parts) == 2
        await kept.agree(*parts, TokenUsage(60, 4), source="estimated")


@pytest.mark.parametrize("protocol", ["responses", "messages"])
async def test_a_call_of_a_tool_that_is_cut_is_never_seen(serve: Any, protocol: str, road: Any) -> None:
    tool: dict[str, Any] = {"name": "look", "description": "Looks.", "strict": False}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    tool |= {"type": "function", "parameters": schema} if protocol == "responses" else {"input_schema": schema}
    arguments = '{"place": "' + "z" * 200 + '"}'
    async with served(serve, road, "continue") as kept:
        call = [("look", arguments)]
        first = Script(text=" 000 001", chunk_size=4, tool_calls=call, usage="off", close_after=12)
        kept.providers[0].default = first
        kept.providers[1].default = Script(text=" and a look", tool_calls=[("look", "{}")], usage_object=usage(60, 4))
        seen = await ask(kept, protocol, tools=[tool])
        assert (seen.text, seen.error) == (" 000 001 and a look", None)
        if protocol == "messages":
            calls = [block.input for block in seen.answer.content if block.type == "tool_use"]
            assert (calls, seen.answer.stop_reason) == ([{}], "tool_use")
        else:
            assert [item.arguments for item in seen.answer.output if item.type == "function_call"] == ["{}"]
        assert "zzzz" not in str(seen.events)  # which no id has


@pytest.mark.parametrize("protocol", ["responses", "messages"])
async def test_a_thought_that_is_cut_ends_with_an_error_as_no_client_could_send_it_back(
    serve: Any, protocol: str, road: Any
) -> None:
    async with served(serve, road, "continue") as kept:
        kept.providers[0].default = Script(reasoning=FIRST, text="x", chunk_size=4, usage="off", close_after=SHOWN)
        seen = await ask(kept, protocol)
        assert isinstance(seen.error, openai.APIError | anthropic.APIError)
        assert (seen.text, kept.calls, kept.watcher.exchange.rescues) == ("", [1, 0], ())


async def test_a_response_that_its_provider_keeps_ends_with_an_error(serve: Any) -> None:
    async with served(serve, ("native", "native"), "continue") as kept:
        kept.providers[0].default = Script(text=FIRST, chunk_size=4, close_after=SHOWN)
        seen = await ask(kept, "responses", store=True)
        assert isinstance(seen.error, openai.APIError)
        assert (kept.calls, kept.watcher.exchange.rescues) == ([1, 0], ())


async def test_a_response_that_begins_anew_has_the_id_that_its_provider_keeps(serve: Any) -> None:
    async with served(serve, ("native", "native"), "restart") as kept:
        kept.providers[0].default = Script(text=FIRST, chunk_size=4, close_after=SHOWN)
        kept.providers[1].default = Script(text="all is well")
        seen = await ask(kept, "responses", store=True)
        is_one_answer(seen, "responses", "all is well")
        async with openai.AsyncOpenAI(base_url=kept.gateway.url + "/v1", api_key=CLIENT_KEY, max_retries=0) as sdk:
            with pytest.raises(openai.NotFoundError):  # the fake provider keeps nothing, but is asked
                await sdk.responses.retrieve(seen.answer.id)
        assert [len(provider.requests) for provider in kept.providers] == [1, 2]


@pytest.mark.parametrize("on_break", ["restart", "continue"])
async def test_a_stream_that_does_not_break_passes_byte_for_byte(serve: Any, protocol: str, on_break: str) -> None:
    path = "/chat/completions" if protocol == "chat" else f"/{protocol}"
    asked: dict[str, Any] = {"model": "m", "stream": True, "max_tokens": 5, "prompt": "Hi", "input": "Hi"}
    wanted = {"responses": ("input",), "messages": ("max_tokens",), "completions": ("prompt",)}[protocol]
    body = {name: asked[name] for name in ("model", "stream", *wanted)}
    if protocol == "messages":
        body["messages"] = [{"role": "user", "content": "Hi"}]
    received = []
    for action in ("error", on_break):
        async with served(serve, ("native", "native"), action) as kept:
            kept.providers[0].default = Script(text=FIRST, chunk_size=4)
            async with kept.gateway.session.post(
                f"{kept.gateway.url}/v1{path}", json=body, headers={"authorization": f"Bearer {CLIENT_KEY}"}
            ) as response:
                assert response.status == 200
                received.append(without_ids(await response.text()))
    assert received[0] == received[1]


def without_ids(text: str) -> str:
    """Ids that the gateway signs for each response are of another provider each time."""
    return re.sub(r"resp_[\w-]+|127\.0\.0\.1:\d+|\"created(?:_at)?\": ?\d+|\"completed_at\": ?\d+", "", text)
