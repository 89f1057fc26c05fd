"""`on_break: continue`: the next deployment goes on where a stream broke, and the client sees one stream."""

import gc
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins import TokenUsage
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.on_break import OnBreak
from crplugins.handlers.routing.prefill import prefill_of
from crplugins.metering.record import record_of
from tests.handlers.routing.books import DONE, chunk, events_in, usage
from tests.handlers.routing.scripted import ASK, Answered, Says, ask

ON_BREAK = OnBreak("continue")
ROLE = chunk("", role="assistant")
VLLM = ("openai/m", "hosted_vllm/m")


def other_head(event: bytes) -> bytes:
    """The same chunk of another provider."""
    return event.replace(b"chatcmpl-x", b"gen-9").replace(b'"model": "x"', b'"model": "y"')


REST = [
    *[other_head(event) for event in (ROLE, chunk(" two"), chunk(" three"), chunk(finish="stop"))],
    other_head(chunk(usage=usage(30, 2))),
    DONE,
]


def text_of(answered: Answered) -> str:
    events = [json.loads(line[6:]) for line in answered.body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def last_message(says: Says) -> Any:
    return says.asked[-1].get("messages")[-1]


def broken(*texts: str, **delta: Any) -> Says:
    return Says(ROLE, *[chunk(text) for text in texts], *([chunk(**delta)] if delta else []), breaks=True)


async def test_the_client_sees_one_stream() -> None:
    rest = Says(*REST)
    answered = await ask(ON_BREAK, broken(" one"), rest, models=VLLM)
    assert answered.error is None
    assert text_of(answered) == " one two three"
    events = events_in(answered.body.decode())
    assert {(event["id"], event["created"], event["model"]) for event in events} == {("chatcmpl-x", 1, "x")}
    assert sum("role" in choice["delta"] for event in events for choice in event["choices"]) == 1
    finishes = [choice["finish_reason"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    assert finishes == ["stop"]
    assert {choice["index"] for event in events for choice in event["choices"]} == {0}
    (told,) = [event["usage"] for event in events if event["usage"]]
    assert (told["prompt_tokens"], told["completion_tokens"]) == (16 + 30, 1 + 2)
    record = record_of(answered.exchange)
    assert (record.usage, record.usage_source, record.outcome) == (TokenUsage(46, 3), "estimated", "ok")
    assert record.cost_micro_usd == 46 + 2 * 3
    assert (record.provider_model, record.attempts, answered.exchange.rescues) == ("y", 2, ("continue",))


async def test_the_next_one_is_given_what_was_said() -> None:
    rest = Says(*REST)
    await ask(ON_BREAK, broken(" one"), rest, models=VLLM)
    assert last_message(rest) == {"role": "assistant", "content": " one"}
    assert len(rest.asked[0].get("messages")) == 2
    assert (rest.asked[0].get("continue_final_message"), rest.asked[0].get("add_generation_prompt")) == (True, False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("deepseek/deepseek-chat", {"prefix": True}),
        ("mistral/mistral-small", {"prefix": True}),
        ("moonshot/kimi-k2", {"partial": True}),
        ("groq/llama-3.3-70b", {}),
        ("anthropic/claude-3-5-haiku", {}),
    ],
)
async def test_each_provider_is_asked_in_its_own_words(model: str, message: dict[str, Any]) -> None:
    rest = Says(*REST)
    answered = await ask(ON_BREAK, broken(" one"), rest, models=("openai/m", model))
    assert last_message(rest) == {"role": "assistant", "content": " one", **message}
    assert text_of(answered) == " one two three"


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("openai/gpt-4o", {}, False),
        ("openrouter/meta-llama/llama-3", {}, False),
        ("openai/local", {"takes_prefill": True}, True),
        ("hosted_vllm/m", {"takes_prefill": False}, False),
        ("anthropic/claude-sonnet-4-5", {}, True),
        ("anthropic/claude-sonnet-4-20250514", {}, True),
        ("bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", {}, True),
        ("anthropic/claude-sonnet-4-6", {}, False),
        ("anthropic/claude-opus-5", {}, False),
        ("bedrock/amazon.nova-pro-v1:0", {}, False),
        ("vertex_ai/gemini-2.0-flash", {}, False),
        ("deepseek/deepseek-chat", {"api_base": "https://api.deepseek.com/beta"}, True),
        ("deepseek/deepseek-chat", {"api_base": "https://api.deepseek.com"}, False),
    ],
)
def test_who_goes_on_with_a_beginning(model: str, settings: dict[str, Any], expected: bool) -> None:
    deployment = Deployment("m", model, provider=model.partition("/")[0], **settings)
    assert (prefill_of(deployment) is not None) is expected


async def test_one_that_would_answer_anew_is_not_asked_and_the_client_is_told() -> None:
    rest = Says(*REST)
    answered = await ask(ON_BREAK, broken(" one"), rest, models=("openai/m", "openai/n"))
    assert (rest.asked, text_of(answered)) == ([], " one")
    assert answered.error is not None
    assert answered.error.error.code == "upstream_incomplete"
    assert answered.exchange.rescues == ()


async def test_one_that_refuses_a_beginning_is_passed_over_and_its_refusal_is_not_shown() -> None:
    refuses, rest = Says(refuses=400), Says(*REST)
    models = ("openai/m", "hosted_vllm/m", "hosted_vllm/n")
    answered = await ask(ON_BREAK, broken(" one"), refuses, rest, models=models)
    assert (len(refuses.asked), text_of(answered)) == (1, " one two three")
    answered = await ask(ON_BREAK, broken(" one"), Says(refuses=400), models=VLLM)
    assert answered.error is not None
    assert answered.error.error.code == "upstream_incomplete"


async def test_a_repeated_beginning_is_shown_once() -> None:
    for size in (1, 3, 100):
        text = " one two three"
        pieces = [chunk(text[start : start + size]) for start in range(0, len(text), size)]
        answered = await ask(
            ON_BREAK, broken(" one"), Says(ROLE, *pieces, chunk(finish="stop"), DONE), models=("openai/m", "mistral/m")
        )
        assert text_of(answered) == text


async def test_white_space_that_claude_may_not_be_given_is_shown_once() -> None:
    models = ("openai/m", "anthropic/claude-3-opus")
    for rest in ("\n\n two", " two", "\n two", "two"):
        says = Says(ROLE, chunk(rest), chunk(finish="stop"), DONE)
        answered = await ask(ON_BREAK, broken(" one\n\n"), says, models=models)
        assert last_message(says)["content"] == " one"
        assert text_of(answered) in (" one\n\n two", " one\n\ntwo")


async def test_a_cut_tool_call_is_dropped_and_asked_for_again() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"pla'}}
    whole = {"index": 0, "id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    rest = Says(ROLE, chunk(tool_calls=[whole]), chunk(finish="tool_calls"), DONE)
    answered = await ask(ON_BREAK, broken(" Let me see.", tool_calls=[call]), rest, models=VLLM)
    assert last_message(rest)["content"] == " Let me see."
    assert b"c1" not in answered.body
    calls = [
        c for e in events_in(answered.body.decode()) for x in e["choices"] for c in x["delta"].get("tool_calls", ())
    ]
    assert calls == [whole]
    assert answered.exchange.spent[0].usage.output_tokens > 3 + 8  # what was dropped is paid for


async def test_where_nothing_but_a_cut_tool_call_came_anybody_may_answer() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"pla'}}
    rest = Says(*REST)
    answered = await ask(ON_BREAK, broken(tool_calls=[call]), rest, models=("openai/m", "openai/n"))
    assert last_message(rest)["role"] == "user"
    assert text_of(answered) == " two three"
    assert answered.body.count(b'"role"') == 1


async def test_a_break_among_the_thoughts_is_answered_without_showing_thoughts_twice() -> None:
    rest = Says(ROLE, chunk(reasoning_content="again"), *REST[1:])
    answered = await ask(ON_BREAK, broken(reasoning_content="hmm"), rest, models=("openai/m", "openai/n"))
    assert text_of(answered) == " two three"
    assert (b"hmm" in answered.body, b"again" in answered.body) == (True, False)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"n": 2}, id="two choices"),
        pytest.param({"response_format": {"type": "json_object"}}, id="a prescribed form"),
        pytest.param({"messages": [{"role": "assistant", "content": "I"}]}, id="the client's own beginning"),
    ],
)
async def test_what_cannot_be_made_of_two_parts_ends_with_an_error(request_: dict[str, Any]) -> None:
    rest = Says(*REST)
    body = json.dumps({**json.loads(ASK), **request_}).encode()
    answered = await ask(ON_BREAK, broken(" one"), rest, models=VLLM, ask=body)
    assert (rest.asked, answered.error is not None) == ([], True)


@pytest.mark.parametrize("delta", [{"refusal": "no"}, {"audio": {"data": "AAAA"}}], ids=str)
async def test_what_is_no_text_is_not_continued(delta: dict[str, Any]) -> None:
    rest = Says(*REST)
    answered = await ask(ON_BREAK, broken(" one", **delta), rest, models=VLLM)
    assert (rest.asked, answered.error is not None) == ([], True)


async def test_the_rest_may_have_what_the_clients_bound_leaves() -> None:
    body = json.dumps({**json.loads(ASK), "max_tokens": 10, "max_completion_tokens": 2}).encode()
    rest = Says(*REST)
    await ask(ON_BREAK, broken(" one", " two", " ten"), rest, models=VLLM, ask=body)
    assert (rest.asked[0].get("max_tokens"), rest.asked[0].get("max_completion_tokens")) == (7, 1)


async def test_a_continuation_that_breaks_is_continued_as_well() -> None:
    second, third = Says(*REST[:2], breaks=True), Says(*[e.replace(b" two", b"") for e in REST])
    answered = await ask(ON_BREAK, broken(" one"), second, third, models=(*VLLM, "hosted_vllm/n"))
    assert last_message(third)["content"] == " one two"
    assert text_of(answered) == " one two three"
    assert answered.exchange.rescues == ("continue", "continue")
    assert record_of(answered.exchange).attempts == 3


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=2, max_size=40),
    at=st.integers(1, 39),
    size=st.integers(1, 9),
    model=st.sampled_from(["hosted_vllm/m", "mistral/m", "groq/m"]),
)
async def test_wherever_it_breaks_the_text_is_the_beginning_and_its_continuation(
    text: str, at: int, size: int, model: str
) -> None:
    first, rest = text[:at], text[at:]
    said = text if model.startswith("mistral") else rest

    def pieces(whole: str) -> list[bytes]:
        return [chunk(whole[start : start + size]) for start in range(0, len(whole), size)]

    says = Says(ROLE, *pieces(said), chunk(finish="stop"), DONE)
    answered = await ask(ON_BREAK, Says(ROLE, *pieces(first), breaks=True), says, models=("openai/m", model))
    assert text_of(answered) == text
    assert answered.body.count(DONE) == 1


@pytest.mark.parametrize("action", ["restart", "continue"])
@pytest.mark.parametrize("rescued", [True, False])
async def test_a_rescue_leaves_nothing_that_only_the_garbage_collector_finds(action: Any, rescued: bool) -> None:
    rest = REST if rescued else REST[:2]
    models = (*VLLM, "hosted_vllm/n")
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            handlers = broken(" one"), Says(refuses=400), Says(*rest, breaks=not rescued)
            await ask(OnBreak(action), *handlers, models=models)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [type(each).__qualname__ for each in gc.garbage if "crplugins" in type(each).__module__]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []
