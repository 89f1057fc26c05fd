"""The demo model: no network, honest numbers, and it streams so that a person sees it."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from crplugins.core.body import Body
from crplugins.core.completeness import Completeness
from crplugins.core.dialects import COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.said import Said
from crplugins.handlers.demo import GREETING, NOTHING_SAID, DemoHandler, echo, tokens
from crplugins.handlers.deployment import Deployment
from tests.litellm_setup import ASKING, Asked, make_exchange

SAID = {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello wonderful world"}]}


@pytest.fixture
def demo():
    return Asked(DemoHandler(Deployment("demo/echo", "demo/echo")))


async def test_it_says_back_what_the_user_said(demo):
    document = await demo.plain(**SAID)
    [choice] = document["choices"]
    assert choice["message"] == {"role": "assistant", "content": f"{GREETING}hello wonderful world", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert document["usage"] == {"prompt_tokens": 6, "completion_tokens": 6, "total_tokens": 12}
    assert demo.exchange.usage_source == "provider"


async def test_a_stream_says_and_counts_the_same_as_a_plain_answer(demo):
    document = await demo.plain(**SAID)
    told = await demo.stream(**SAID, **ASKING)
    assert told.said("content") == document["choices"][0]["message"]["content"]
    assert told.usages() == [document["usage"]]
    assert told.finish_reasons() == ["stop"]
    assert told.done


async def test_it_streams_a_token_at_a_time_with_a_pause(demo):
    demo.handler = DemoHandler(Deployment("demo/echo", "demo/echo"), word_seconds=(pause := 0.05))
    reply = await demo.reply(stream=True, **SAID)
    arrivals = [time.monotonic() async for _ in reply.body]
    assert len(arrivals) == 7  # six tokens, then the finish reason with the end mark
    assert arrivals[5] - arrivals[0] > 4 * pause


async def test_an_array_of_parts_is_read_and_pictures_are_not(demo):
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
             {"type": "text", "text": "here"}]  # fmt: skip
    told = await demo.stream(messages=[{"role": "user", "content": parts}])
    assert told.said("content") == f"{GREETING}look here"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_it_stops_at_the_limit_with_finish_reason_length(demo, name):
    told = await demo.stream(**SAID, **ASKING, **{name: 3})
    assert told.said("content") == "You said: hello"
    assert told.finish_reasons() == ["length"]
    assert told.usages()[0]["completion_tokens"] == 3


@pytest.mark.parametrize("stop", ["won", ["zzz", " wonder"]])
async def test_it_stops_before_a_stop_sequence(demo, stop):
    told = await demo.stream(**SAID, stop=stop)
    assert told.said("content").rstrip() == "You said: hello"
    assert told.finish_reasons() == ["stop"]


async def test_each_choice_says_the_same_and_is_counted(demo):
    document = await demo.plain(**SAID, n=2)
    assert [choice["index"] for choice in document["choices"]] == [0, 1]
    assert document["usage"]["completion_tokens"] == 12
    told = await demo.stream(**SAID, n=2, **ASKING)
    assert told.done
    assert told.said("content", 1) == told.said("content", 0) == document["choices"][1]["message"]["content"]
    assert told.usages() == [document["usage"]]


async def test_parameters_it_does_not_know_are_no_reason_to_refuse(demo):
    told = await demo.stream(**SAID, verbosity="low", temperature=0.1, metadata={"a": "b"}, x=1, tools=[])
    assert told.done


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": " "}], [{"role": "system", "content": "x"}]])
def test_without_a_user_it_greets(messages):
    assert "".join(echo(messages, {}).pieces) == NOTHING_SAID


@pytest.mark.parametrize("text", ["", " ", "a", "hello wonderful world", "  zwei\n\nZeilen \t", "👋 größer"])
def test_tokens_joined_are_the_text(text):
    assert "".join(tokens(text)) == text


USER = [{"role": "user", "content": "hello wonderful world"}]
IN_OTHERS: list[tuple[Dialect, dict[str, Any]]] = [
    (COMPLETIONS, {"prompt": "hello wonderful world"}),
    (RESPONSES, {"input": "hello wonderful world"}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello wonderful world"}]}]}),
    (MESSAGES, {"messages": USER, "max_tokens": 100, "system": "Be kind."}),
]


async def answered(dialect: Dialect, **asks: Any) -> tuple[bytes | AsyncGenerator[bytes, None], Any]:
    exchange = make_exchange()
    exchange.dialect = dialect
    exchange.body = Body(msgspec.json.encode({"model": "demo/echo", **asks}))
    exchange.stream = asks.get("stream") is True
    reply = await DemoHandler(Deployment("demo/echo", "demo/echo"), word_seconds=0).answer(exchange, exchange.body)
    return reply.body, exchange


@pytest.mark.parametrize(("dialect", "asks"), IN_OTHERS)
async def test_it_says_the_same_in_every_protocol_and_counts_it(dialect: Dialect, asks: dict[str, Any]) -> None:
    whole, exchange = await answered(dialect, **asks)
    frames, streamed = await answered(dialect, **asks, stream=True)
    assert isinstance(whole, bytes)
    assert not isinstance(frames, bytes)
    said, state = Said(), Completeness()
    for event in dialect.splitter().feed(b"".join([frame async for frame in frames])):
        state.see(event)
        said.hear(event.answer.choices or () if event.answer is not None else ())
    assert state.complete
    assert said.units == 3 * len(f"{GREETING}hello wonderful world")
    assert f"{GREETING}hello wonderful world".encode() in whole
    assert exchange.usage.output_tokens == 6
    assert (exchange.usage, exchange.usage_source) == (streamed.usage, "provider")


async def test_it_embeds_texts_and_counts_them() -> None:
    body, exchange = await answered(EMBEDDINGS, input=["hello", "world"], dimensions=3)
    assert isinstance(body, bytes)
    assert [len(each["embedding"]) for each in msgspec.json.decode(body)["data"]] == [3, 3]
    assert (exchange.usage.input_tokens, exchange.usage.output_tokens) == (4, 0)


@pytest.mark.parametrize(("dialect", "asks"), [
    (RESPONSES, {"input": 5}), (RESPONSES, {"input": [1]}), (RESPONSES, {}), (MESSAGES, {"messages": [None]}),
    (MESSAGES, {"messages": 7}), (COMPLETIONS, {"prompt": "x", "n": [1]}), (COMPLETIONS, {"prompt": {}}),
    (EMBEDDINGS, {}), (EMBEDDINGS, {"input": "x", "dimensions": "many"}),
    (EMBEDDINGS, {"input": ["x"] * 2000, "dimensions": 4096}),
])  # fmt: skip
async def test_what_it_cannot_read_is_refused_by_name(dialect: Dialect, asks: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        await answered(dialect, **asks)
    assert refused.value.status == 400
    assert refused.value.error.param in {"input", "messages", "prompt"}
