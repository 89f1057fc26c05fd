"""The fake provider in each protocol, read by the SDKs of those whose protocols they are."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from crplugins.core.completeness import Completeness
from crplugins.core.dialects import ALL, CHAT, EMBEDDINGS, Dialect
from crplugins.core.said import Said
from crplugins.testing import FakeProvider, Script, usage_object

SAYS = "The quick brown fox."
HI = [{"role": "user", "content": "Hi"}]
ASKS: dict[str, dict[str, Any]] = {
    "chat": {"messages": HI},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
    "messages": {"messages": HI, "max_tokens": 100},
    "embeddings": {"input": "Hi"},
}
GENERATING = [each for each in ALL if each.name in ASKS and each is not EMBEDDINGS]
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def by_openai(provider: FakeProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-x", max_retries=0) as client:
        yield client


@pytest.fixture
async def by_anthropic(provider: FakeProvider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = provider.base_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-x", max_retries=0) as client:
        yield client


async def asked(provider: FakeProvider, dialect: Dialect, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        body = {"model": "m", **ASKS[dialect.name], **more}
        return await client.post(provider.base_url + dialect.path, json=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", GENERATING)
async def test_one_script_is_said_in_every_protocol(provider: FakeProvider, dialect: Dialect, stream: bool) -> None:
    provider.default = Script(text=SAYS, usage="on", usage_object=usage_object(20, 9, cached=4, reasoning=2))
    answer = await asked(provider, dialect, stream=stream)
    state, said, counted = Completeness(), Said(), None
    events = dialect.splitter().feed(answer.content) if stream else [dialect.document(answer.content)]
    for event in events:
        assert not event.is_malformed
        state.see(event)
        if event.answer is not None:
            said.hear(event.answer.choices or ())
            counted = event.answer.counted or counted
    assert state.complete
    assert said.units == 3 * len(SAYS)
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens) == (20, 9)
    assert counted.cached_input_tokens == 4
    assert provider.last_request.usage == (20, 9)


@pytest.mark.parametrize("dialect", GENERATING)
async def test_cuts_and_errors_come_in_every_protocol(provider: FakeProvider, dialect: Dialect) -> None:
    for script, fails in ((Script(text=SAYS, cut_after=3), False), (Script(text=SAYS, error_after=3), True)):
        provider.enqueue(script)
        state = Completeness()
        for event in dialect.splitter().feed((await asked(provider, dialect, stream=True)).content):
            state.see(event)
        assert not state.complete
        assert state.failed is fails


@pytest.mark.parametrize("dialect", [CHAT, *GENERATING, EMBEDDINGS])
async def test_what_a_request_must_have_is_asked_for(provider: FakeProvider, dialect: Dialect) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(provider.base_url + dialect.path, json={"model": "m"})
    assert answer.status_code == 400
    assert next(iter(sorted(ASKS[dialect.name]))) in answer.json()["error"]["message"]


async def test_openai_reads_a_response_and_its_stream(by_openai: openai.AsyncOpenAI, provider: FakeProvider) -> None:
    provider.default = Script(reasoning="Let me see.", text=SAYS)
    whole = await by_openai.responses.create(model="m", input="Hi")
    assert whole.output_text == SAYS
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.usage is not None
    assert whole.usage.output_tokens_details.reasoning_tokens == 3
    async with by_openai.responses.stream(model="m", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == SAYS
    assert final.usage == whole.usage
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 4
    assert provider.last_request.usage == (whole.usage.input_tokens, whole.usage.output_tokens)


async def test_openai_reads_the_tool_calls_of_a_response(by_openai: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": TOOL, "strict": True}]
    question: Any = {"role": "user", "content": "What is the weather in Paris?"}
    async with by_openai.responses.stream(model="m", input=[question], tools=tools) as stream:
        [call] = (await stream.get_final_response()).output
    assert call.type == "function_call"
    assert (call.name, list(json.loads(call.arguments))) == ("get_weather", ["city"])
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answer = await by_openai.responses.create(model="m", input=[question, call.to_dict(), result], tools=tools)
    assert answer.output_text == "The tool said: sunny"


async def test_openai_reads_a_response_that_is_cut_by_its_limit(by_openai: openai.AsyncOpenAI) -> None:
    answer = await by_openai.responses.create(model="m", input="one two three four", max_output_tokens=16)
    assert answer.status == "completed"
    answer = await by_openai.responses.create(model="m", input="count to 100", max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_anthropic_reads_a_message_and_its_stream(
    by_anthropic: anthropic.AsyncAnthropic, provider: FakeProvider
) -> None:
    provider.default = Script(
        reasoning="Let me see.", text=SAYS, usage_object=usage_object(20, 9, cached=4, cache_write=5)
    )
    whole = await by_anthropic.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "Hi"}])
    assert [block.type for block in whole.content] == ["thinking", "text"]
    counts = whole.usage.input_tokens, whole.usage.cache_read_input_tokens, whole.usage.cache_creation_input_tokens
    assert counts == (11, 4, 5)
    async with by_anthropic.messages.stream(
        model="m", max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 9)
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert provider.last_request.usage == (20, 9)


async def test_anthropic_reads_the_tool_calls_of_a_message(by_anthropic: anthropic.AsyncAnthropic) -> None:
    tools: Any = [{"name": "get_weather", "input_schema": TOOL}]
    asks: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    async with by_anthropic.messages.stream(model="m", max_tokens=100, messages=asks, tools=tools) as stream:
        answer = await stream.get_final_message()
    [call] = answer.content
    assert call.type == "tool_use"
    assert (answer.stop_reason, call.name, list(call.input)) == ("tool_use", "get_weather", ["city"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    asks += [{"role": "assistant", "content": [call.to_dict()]}, {"role": "user", "content": [result]}]
    answer = await by_anthropic.messages.create(model="m", max_tokens=100, messages=asks, tools=tools)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "The tool said: sunny"


async def test_anthropic_reads_refusals_as_its_own(
    by_anthropic: anthropic.AsyncAnthropic, provider: FakeProvider
) -> None:
    provider.enqueue(Script.rate_limited(7))
    with pytest.raises(anthropic.RateLimitError, match="rate_limit_error"):
        await by_anthropic.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "Hi"}])


async def test_openai_reads_completions(by_openai: openai.AsyncOpenAI, provider: FakeProvider) -> None:
    many = await by_openai.completions.create(model="m", prompt=["Hello", "Good morning"], n=2, echo=True, logprobs=1)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert many.choices[3].text == "Good morningYou said: Good morning"
    best = await by_openai.completions.create(model="m", prompt=[[1, 2, 3], [4]], n=1, best_of=3)
    assert best.usage is not None
    assert (len(best.choices), best.usage.prompt_tokens, best.usage.completion_tokens) == (2, 4, 2 * 3 * 3)
    stream = await by_openai.completions.create(
        model="m", prompt="Hello", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "You said: Hello"
    assert chunks[-1].usage is not None
    assert provider.last_request.usage == (2, 3)


async def test_openai_reads_embeddings(by_openai: openai.AsyncOpenAI, provider: FakeProvider) -> None:
    floats = await by_openai.embeddings.create(model="m", input=["Hello", "you"], encoding_format="float", dimensions=5)
    packed = await by_openai.embeddings.create(model="m", input=["Hello", "you"], dimensions=5)
    assert [len(each.embedding) for each in floats.data] == [5, 5]
    assert floats.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-5)
    assert floats.data[0].embedding != floats.data[1].embedding
    assert floats.usage.prompt_tokens == 3
    numbers = await by_openai.embeddings.create(model="m", input=[1, 2, 3, 4])
    assert (len(numbers.data), numbers.usage.total_tokens) == (1, 4)
    assert provider.last_request.usage == (4, 0)
