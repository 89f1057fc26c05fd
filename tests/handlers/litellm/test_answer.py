"""The plain answer: OpenAI's document from litellm's response."""

from types import SimpleNamespace

import pytest

from crplugins.handlers.litellm.answer import answer_document
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import asking


def response(message, finish="stop", **more):
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    return {"id": "c1", "created": 1700000000, "model": "m1", "object": "chat.completion", "choices": [choice]}


def test_required_keys_are_there_and_nothing_of_litellms_own():
    message = {"role": "assistant", "content": "a", "provider_specific_fields": {"refusal": None}, "audio": None,
               "thinking_blocks": [], "annotations": []}  # fmt: skip
    document = answer_document(response(message, provider_specific_fields={}) | {"citations": None}, "x")
    assert document == {
        "id": "c1", "object": "chat.completion", "created": 1700000000, "model": "m1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "refusal": None}, "logprobs": None,
                     "finish_reason": "stop"}],
    }  # fmt: skip


def test_a_refusal_comes_back_from_where_litellm_puts_it():
    message = {"content": None, "provider_specific_fields": {"refusal": "I'm sorry"}}
    assert answer_document(response(message), "x")["choices"][0]["message"]["refusal"] == "I'm sorry"


def test_reasoning_and_tool_calls_are_kept():
    call = SimpleNamespace(id="c1", type="function", function=SimpleNamespace(name="f", arguments="{}"))
    document = answer_document(
        response({"content": None, "reasoning_content": "hm", "tool_calls": [call]}, "tool_use"), "x"
    )
    choice = document["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_response_without_choices_is_no_answer():
    assert answer_document({"choices": []}, "x") is None


def test_an_answer_without_a_model_name_has_the_requested_one():
    assert answer_document(response({"content": "a"}) | {"model": None}, "x")["model"] == "x"


@pytest.mark.parametrize("model", ["openai/fake-model", "groq/fake-model", "hosted_vllm/fake-model"])
async def test_an_answer_equals_the_providers(model):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        document = await asked.plain(n=2, logprobs=True, tools=[])
        theirs = provider.last_request
        assert theirs.json["n"] == 2
        assert document["id"].startswith("chatcmpl-fake") or model.startswith("groq")
        assert [c["index"] for c in document["choices"]] == [0, 1]
        assert asked.exchange.usage_source == "provider"
        assert document["usage"]["prompt_tokens"] == theirs.usage[0]
        assert document["usage"]["completion_tokens"] == theirs.usage[1]
        assert asked.exchange.usage.output_tokens == theirs.usage[1]


@pytest.mark.parametrize("model", ["openai/fake-model", "groq/fake-model", "hosted_vllm/fake-model"])
async def test_a_refusal_of_the_provider_reaches_the_client(model):
    # Without a service_tier litellm's Groq handler fails on the answer (AttributeError).
    body = response({"role": "assistant", "content": None, "refusal": "I'm sorry"}) | {"service_tier": "default"}
    async with FakeProvider(default=Script(body=body)) as provider, asking(provider, model) as asked:
        message = (await asked.plain())["choices"][0]["message"]
        assert message == {"role": "assistant", "content": None, "refusal": "I'm sorry"}


async def test_usage_the_provider_did_not_send_is_neither_made_up_nor_shown():
    async with FakeProvider(default=Script(text="one two", usage="off")) as provider, asking(provider) as asked:
        document = await asked.plain()
        assert "usage" not in document
        assert asked.exchange.usage is None
