"""A request that is made of litellm's configuration of a provider is the one `acompletion` would send, and is answered alike."""

import dataclasses
import json
from contextlib import asynccontextmanager
from itertools import product

import pytest
from litellm.integrations.custom_logger import CustomLogger

from crplugins.core.errors import GatewayError
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.handler import LitellmHandler
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.handlers.litellm.providers import CONFIGURED
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import ASKING, HELLO, KEY, Asked, asking
from tests.long import LONG

OFTEN = [
    "anthropic",
    "azure",
    "databricks",
    "groq",
    "hosted_vllm",
    "mistral",
    "openai",
    "openrouter",
    "together_ai",
    "xai",
]
PROVIDERS = sorted(CONFIGURED if LONG else CONFIGURED & set(OFTEN))
MODELS = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-4o"}

TOOL = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"it": {"type": "string"}}}},
}
CALL = {"id": "call_9", "type": "function", "function": {"name": "find", "arguments": '{"it": "x"}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": ' {"a": "data:image/png;base64,AA=="} <think>é 🎉</think>\n'},
    {"role": "user", "content": "And <b>then</b>?"},
    {"role": "assistant", "content": "Then <i>nothing</i>. "},
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
]
REQUESTS = {
    "plain": {"temperature": 0.3, "max_tokens": 9},
    "tools": {"tools": [TOOL], "tool_choice": "auto"},
    "second turn": {"tools": [TOOL], "messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_9", "content": "y"}]},
    "picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]}]},
    "conversation": {"messages": TALK, "stop": ["end"], "temperature": 0.3},
    "conversation of another": {"messages": [*TALK, *TALK], "stop": "END", "temperature": 0.3},
    "assistant last": {"messages": [*HELLO, {"role": "assistant", "content": " \n"}]},
    "other words": {"reasoning_effort": "low"},
    "other parts": {"messages": [{"role": "user", "content": "hi", "name": "ann"}]},
}  # fmt: skip
SAID = {"role": "assistant", "content": "Hello <b>there</b>", "tool_calls": [CALL]}
COUNTS = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
OPENAIS = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "up", "choices": [{"index": 0, "message": SAID, "finish_reason": "tool_calls"}], "usage": COUNTS}  # fmt: skip
ANTHROPICS = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"it": "x"}}],
    "usage": {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 2},
}  # fmt: skip


def whole(message, finish="stop", choice=(), **more):
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **dict(choice)}]
    return {**OPENAIS, "service_tier": "default", "choices": choices, **more}


READ = {
    "text": whole({"content": "Hello <b>there</b>", "refusal": None, "annotations": []}, choice={"logprobs": None}),
    "refusal of the model": whole({"content": None, "refusal": "No."}, "content_filter", system_fingerprint="fp"),
    "code in a tag": whole({"content": '<code>{"name": "find", "arguments": {}}</code>'}, "length"),
    "thought in the text": whole({"content": "<think>So.</think>Hello"}),
    "thought beside it": whole({"content": "Hello", "reasoning_content": "So."}),
    "thought by another name": whole({"content": "Hello", "reasoning": "So."}),
    "thought by both": whole({"content": "Hello", "reasoning": "So.", "reasoning_content": None}),
    "no text": whole({"content": ""}),
    "a blank": whole({"content": " \n"}),
    "call in a text": whole({"content": '{"type": "function", "name": "find", "parameters": {"it": "x"}}'}),
    "calls": whole({"content": None, "tool_calls": [CALL, CALL | {"id": "call_10"}]}, "tool_calls"),
    "calls that stop": whole({"content": "Look", "tool_calls": [CALL]}),
    "calls in one": whole({"content": None, "tool_calls": [CALL | {"function": {"name": "multi_tool_use.parallel", "arguments": '{"tool_uses": [{"recipient_name": "functions.find", "parameters": {}}]}'}}]}, "tool_calls"),
    "sources": whole({"content": "Hello"}, citations=["https://example.com"]),
    "filters": whole({"content": "Hello"}, choice={"content_filter_results": {"hate": {"filtered": False}}}, prompt_filter_results=[]),
    "unknown members": whole({"content": "Hello", "mood": "good"}, choice={"stop_reason": 7}, backend="b"),
    "another tier": whole({"content": "Hello"}, service_tier="on_demand"),
    "a tier of its own": whole({"content": "Hello"}, service_tier="turbo"),
    "Ollama's": whole({"content": "Hello"}, system_fingerprint="fp_ollama"),
    "more than the sum": whole({"content": "Hello"}, usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 20}),
    "times": whole({"content": "Hello"}, usage=COUNTS | {"queue_time": 0.1, "total_time": 0.2}, x_groq={"id": "r"}),
    "cache": whole({"content": "Hello"}, usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 1}),
    "thoughts counted": whole({"content": "Hello"}, usage=COUNTS | {"completion_tokens_details": {"reasoning_tokens": 2}}),
    "thoughts beside the count": whole({"content": "Hello"}, usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 2}}),
    "no counts": whole({"content": "Hello"}, usage=None),
}  # fmt: skip


def frames(*events, named=False):
    return [
        (f"event: {e['type']}\n" if named else "").encode() + b"data: " + json.dumps(e).encode() + b"\n\n"
        for e in events
    ]


def chunk(delta, finish=None, **more):
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}  # fmt: skip


OPENAIS_STREAM = [
    *frames(
        chunk({"role": "assistant", "content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": [{"index": 0, **CALL}]}),
        chunk({}, "tool_calls"),
        {**chunk({}), "choices": [], "usage": COUNTS},
    ),
    b"data: [DONE]\n\n",
]
ANTHROPICS_STREAM = frames(
    {"type": "message_start", "message": {**ANTHROPICS, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
    named=True,
)
ANSWERS = {
    "answer": lambda anthropic, stream: (
        Script(events=ANTHROPICS_STREAM if anthropic else OPENAIS_STREAM) if stream else Script(body=ANTHROPICS if anthropic else OPENAIS)
    ),
    "refusal": lambda anthropic, stream: Script.error(400, "Bad temperature.", param="temperature"),
    "key": lambda anthropic, stream: Script.error(401, "Wrong key."),
    "overload": lambda anthropic, stream: Script.error(429, "Slow down.", headers=[("retry-after", "7")]),
    "crash": lambda anthropic, stream: Script(status=500, body=b"<html>oh</html>", content_type="text/html"),
    "nonsense": lambda anthropic, stream: Script(body=b'{"code": 1, "msg": "?"}'),
    "cut": lambda anthropic, stream: dataclasses.replace(ANSWERS["answer"](anthropic, stream), cut_after=2),
    "no connection": lambda anthropic, stream: Script(refuse_connection=True),
}  # fmt: skip


class Roads:
    def __init__(self, upstream, short, long, anthropic):
        self.upstream, self.asked, self.anthropic = upstream, (short, long), anthropic

    async def walk(self, answer="answer", stream=False, **body):
        """What each road has sent, and what its client has got."""
        seen = []
        for asked in self.asked:
            self.upstream.default = (
                Script(body=READ[answer]) if answer in READ else ANSWERS[answer](self.anthropic, stream)
            )
            before = len(self.upstream.requests)
            got = await outcome(asked, stream, body)
            requests = [sent(request) for request in self.upstream.requests[before:]]
            if answer == "no connection":  # releases before 1.110 send such a request again
                requests = requests[:1]
            seen.append((requests, got, asked.exchange.usage, asked.exchange.usage_source))
        return seen


async def outcome(asked, stream, body):
    try:
        if not stream:
            return stripped(await asked.plain(**body))
        told = await asked.stream(**body, **ASKING)
        return [stripped(each) for each in told.chunks], told.done, told.error
    except GatewayError as error:
        return error.status, error.error, sorted(error.headers), error.error_type


def stripped(document):
    if isinstance(document, dict):
        return {key: stripped(value) for key, value in document.items() if key not in ("id", "created")}
    return [stripped(each) for each in document] if isinstance(document, list) else document


OF_THE_CLIENT = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
}


def sent(request):
    headers = {k: v for k, v in request.headers.items() if k not in OF_THE_CLIENT and not k.startswith("x-stainless-")}
    return request.method, request.path, headers, request.json


@asynccontextmanager
async def both_roads(provider):
    model = f"{provider}/{MODELS.get(provider, 'any')}"
    async with FakeProvider() as upstream, asking(upstream, model) as short, asking(upstream, model) as long:
        long.handler._client._models[model].configured = None
        assert await short.handler.rehearsed() is not None
        yield Roads(upstream, short, long, provider == "anthropic")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_both_roads_send_one_request_and_give_one_answer(provider):
    async with both_roads(provider) as roads:
        for kind, stream in product(REQUESTS, (False, True)):
            short, long = await roads.walk(stream=stream, **REQUESTS[kind])
            assert (kind, stream, short) == (kind, stream, long)


@pytest.mark.parametrize("provider", [provider for provider in PROVIDERS if provider != "anthropic"])
async def test_both_roads_read_answers_alike(provider):
    async with both_roads(provider) as roads:
        for answer, tools in product(READ, ({}, {"tools": [TOOL]})):
            short, long = await roads.walk(answer, **tools)
            assert (answer, tools, short) == (answer, tools, long)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_both_roads_fail_alike(provider):
    async with both_roads(provider) as roads:
        for answer, stream in product(ANSWERS, (False, True)):
            short, long = await roads.walk(answer, stream=stream)
            assert (answer, stream, short) == (answer, stream, long)


@pytest.fixture
def through_litellm(monkeypatch):
    """The models that `acompletion` is called for."""
    litellm, models = load_litellm(), []
    acompletion = litellm.acompletion

    async def noted(**arguments):
        models.append(arguments["model"])
        return await acompletion(**arguments)

    monkeypatch.setattr(litellm, "acompletion", noted)
    return models


async def test_a_callback_of_litellms_sees_every_request(monkeypatch, through_litellm):
    async with FakeProvider() as upstream, asking(upstream) as asked:
        await asked.plain()
        through_litellm.clear()
        await asked.plain()
        assert through_litellm == []
        monkeypatch.setattr(load_litellm(), "callbacks", [CustomLogger()])
        await asked.plain()
        assert through_litellm == ["openai/fake-model"]


async def test_a_model_is_rehearsed_once_its_provider_has_answered_for_it(through_litellm):
    async with FakeProvider() as upstream:
        deployment = Deployment("m", "openai/gpt-4o", api_base=upstream.base_url, api_key=KEY, parameters={})
        async with LitellmHandler(deployment) as handler:
            asked = Asked(handler)
            upstream.enqueue(Script.error(404, "No such model."))
            await asked.refusal()
            assert through_litellm == ["openai/gpt-4o"]
            await asked.plain()
            await handler.rehearsed()
            through_litellm.clear()
            await asked.plain()
            assert through_litellm == []


async def test_a_client_that_invents_names_has_not_each_of_them_rehearsed(through_litellm):
    """Where a provider answers to any name, each request was followed by two dozen of litellm's."""
    async with FakeProvider() as upstream:
        deployment = Deployment("w/*", "openai/*", api_base=upstream.base_url, api_key=KEY, parameters={})
        async with LitellmHandler(deployment) as handler:
            asked = Asked(handler)
            await asked.plain(model="w/served")
            for number in range(12):
                await asked.plain(model=f"w/invented-{number}")
    assert through_litellm.count("openai/served") > 2
    assert [through_litellm.count(f"openai/invented-{number}") for number in range(12)] == [1] * 12
