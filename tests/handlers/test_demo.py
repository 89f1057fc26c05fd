"""The demo model: no network, honest numbers, and it streams so that a person sees it."""

import time

import pytest

from crplugins.handlers.demo import GREETING, NOTHING_SAID, DemoHandler, echo, tokens
from crplugins.handlers.deployment import Deployment
from tests.litellm_setup import ASKING, Asked

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
