"""`on_break: restart`: what breaks before anything was shown is answered by the next deployment, whole."""

from typing import Any

import pytest

from crplugins import TokenUsage
from crplugins.testing import Script
from tests.handlers.routing.books import DONE, books, chunk, events_in, told, usage

HANDLERS = [("direct", "litellm"), ("litellm", "direct")]
ASKED = {"stream_options": {"include_usage": True}}
RESTART = {"on_break": "restart"}
SECOND = Script(text="all is well", usage_object=usage(20, 3))
WORDS = [chunk("", role="assistant"), *[chunk(f" {number:03}") for number in range(40)]]
"""40 tokens."""

PROMPT = 13
"""Estimated tokens of the question."""


@pytest.fixture(params=HANDLERS, ids="-".join)
def handlers(request: pytest.FixtureRequest) -> Any:
    return request.param


def text_of(body: str) -> str:
    return "".join(
        choice["delta"].get("content") or "" for event in events_in(body) for choice in event.get("choices", ())
    )


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Script(events=WORDS), id="cut"),
        pytest.param(Script(events=WORDS, reset_after=41), id="reset"),
        pytest.param(Script(events=[*WORDS, b"data: {oops\n\n", b"data: {oops\n\n"]), id="malformed"),
        pytest.param(Script(events=[*WORDS, b'data: {"error": {"message": "no", "code": 500}}\n\n']), id="error"),
        pytest.param(Script(events=[*WORDS, chunk(finish="error")]), id="failure as a finish reason"),
    ],
)
async def test_nothing_of_a_stream_that_breaks_at_its_beginning_is_shown(
    serve: Any, handlers: Any, broken: Script
) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = broken
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert (answer.status, kept.calls) == (200, [1, 1])
        assert text_of(answer.text) == "all is well"
        assert "error" not in answer.text
        assert " 003" not in answer.text
        assert told(answer.text)["total_tokens"] == PROMPT + 40 + 23
        assert kept.attempts == [("initial", kept.attempts[0][1]), ("fallback", "")]
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(20, 3), source="estimated")
        assert kept.record.outcome == "ok"


async def test_a_stall_at_the_beginning_is_waited_out_with_comments_and_not_shown(serve: Any, handlers: Any) -> None:
    params = {**RESTART, "timeout": 0.6}
    async with books(serve, handlers, params=params, server={"stream_keep_alive_seconds": 0.1}) as kept:
        kept.providers[0].default = Script(events=WORDS, stall_after=21)
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True)
        assert (text_of(answer.text), kept.calls) == ("all is well", [1, 1])
        assert answer.text.startswith(": keep-alive")
        await kept.agree(TokenUsage(PROMPT, 20), TokenUsage(20, 3), source="estimated")


@pytest.mark.parametrize("settings", [{"hold_tokens": 30}, {"hold_seconds": 0}], ids=str)
async def test_a_stream_that_has_been_shown_ends_with_an_honest_error(
    serve: Any, handlers: Any, settings: dict[str, Any]
) -> None:
    async with books(serve, handlers, params=RESTART | settings) as kept:
        kept.providers[0].default = Script(events=WORDS)
        answer = await kept.gateway.post(stream=True)
        assert kept.calls == [1, 0]
        shown = events_in(answer.text)
        assert shown[-1]["error"]["type"] == "server_error"
        assert text_of(answer.text).endswith(" 038 039")
        await kept.agree(TokenUsage(PROMPT, 40), source="estimated")
        assert kept.record.outcome == "server_error"


async def test_what_is_held_is_shown_as_it_came_when_it_is_enough(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), params=RESTART | {"hold_tokens": 3}, response_model="served") as kept:
        events = [*WORDS, chunk(finish="stop"), chunk(usage=usage(20, 40)), DONE]
        kept.providers[0].default = Script(events=events)
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert answer.body == b"".join(events)
        await kept.agree(TokenUsage(20, 40))
        assert kept.record.ttft_ms is not None


async def test_when_the_next_one_breaks_as_well_the_client_is_told_and_both_are_paid(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script(events=WORDS[:11])
        answer = await kept.gateway.post(stream=True)
        assert events_in(answer.text)[-1]["error"]["type"] == "server_error"
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(PROMPT, 10), source="estimated")
        assert kept.record.outcome == "server_error"


async def test_when_the_next_one_refuses_the_client_is_told_and_what_was_held_is_paid(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script.error(500, "no")
        answer = await kept.gateway.post(stream=True)
        (event,) = events_in(answer.text)
        assert event["error"]["type"] == "server_error"
        await kept.agree(TokenUsage(PROMPT, 40), source="estimated")


async def test_usage_that_no_provider_told_is_estimated_for_both(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script(text="one two three", usage="off")
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert told(answer.text) is None
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(PROMPT, 3), source="estimated")


async def test_tokens_that_the_broken_one_had_counted_are_its_own(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        counting = [chunk(" 001", usage=usage(500, 1)), chunk(" 002", usage=usage(500, 2)), chunk(" 003")]
        kept.providers[0].default = Script(events=counting)
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert told(answer.text)["prompt_tokens"] == 520
        await kept.agree(TokenUsage(500, 3), TokenUsage(20, 3), source="estimated")


@pytest.mark.parametrize("on_disconnect", ["cancel", "drain"])
async def test_a_client_that_leaves_during_a_rescue_ends_it(serve: Any, handlers: Any, on_disconnect: str) -> None:
    words = {"on_disconnect": on_disconnect, "usage": {"drain_seconds": 0.2}}
    async with books(serve, handlers, params=RESTART, server={"stream_keep_alive_seconds": 0.05}, **words) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script(first_byte_delay=30)
        async with kept.gateway.open(stream=True, model="m") as response:
            await response.content.readline()  # a comment
            await kept.providers[1].wait_for_requests(1)
        for provider in kept.providers:
            await provider.wait_idle(within=5)
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(PROMPT, 0), source="estimated")
        assert kept.record.outcome == "cancelled"


async def test_a_client_that_leaves_while_the_beginning_is_held_pays_for_what_was_said(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), params=RESTART, server={"stream_keep_alive_seconds": 0.05}) as kept:
        kept.providers[0].default = Script(events=WORDS, stall_after=21)
        async with kept.gateway.open(stream=True, model="m") as response:
            await response.content.readline()
        await kept.providers[0].wait_idle(within=5)
        await kept.agree(TokenUsage(PROMPT, 20), source="estimated")
        assert kept.calls == [1, 0]


async def test_nobody_takes_over_for_a_client_that_has_left(serve: Any) -> None:
    words = {"on_disconnect": "drain", "server": {"stream_keep_alive_seconds": 0.05}}
    async with books(serve, ("direct", "direct"), params=RESTART | {"timeout": 0.5}, **words) as kept:
        kept.providers[0].default = Script(events=WORDS, stall_after=21)
        async with kept.gateway.open(stream=True, model="m") as response:
            await response.content.readline()
        await kept.providers[0].wait_idle(within=5)
        await kept.agree(TokenUsage(PROMPT, 20), source="estimated")
        assert kept.calls == [1, 0]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([*WORDS, chunk(finish="stop")], id="without an end mark"),
        pytest.param([*WORDS, chunk(finish="stop"), DONE, DONE], id="two end marks"),
        pytest.param([*WORDS, chunk(finish="stop"), DONE, b"data: {oops\n\n"], id="no JSON behind the end mark"),
    ],
)
async def test_an_answer_that_came_to_its_end_is_not_asked_for_again(
    serve: Any, handlers: Any, events: list[bytes]
) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=events)
        answer = await kept.gateway.post(stream=True)
        assert (text_of(answer.text)[-4:], kept.calls) == (" 039", [1, 0])
        await kept.agree(TokenUsage(PROMPT, 40), source="estimated")


async def test_a_role_and_then_silence_is_a_failure_before_the_first_token(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART | {"timeout": 0.6}) as kept:
        kept.providers[0].default = Script(events=WORDS, stall_after=1)
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert text_of(answer.text) == "all is well"
        await kept.agree(TokenUsage(), TokenUsage(20, 3))
        assert kept.watcher.exchange.rescues == ()


async def test_a_cut_tool_call_is_not_seen(serve: Any, handlers: Any) -> None:
    def call(arguments: str, **more: Any) -> bytes:
        return chunk(tool_calls=[{"index": 0, "function": {"arguments": arguments}, **more}])

    first = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=[call("", **first), call('{"pla'), call('ce": "Pa')])
        whole = [call("", **first), call('{"place": '), call('"Rome"}'), chunk(finish="tool_calls"), DONE]
        kept.providers[1].default = Script(events=whole)
        answer = await kept.gateway.post(stream=True)
        calls = [
            piece
            for event in events_in(answer.text)
            for choice in event["choices"]
            for piece in choice["delta"].get("tool_calls") or ()
        ]
        assert "".join(each["function"].get("arguments") or "" for each in calls) == '{"place": "Rome"}'
        assert [each["id"] for each in calls if each.get("id")] == ["c1"]


async def test_the_client_sees_the_name_it_asked_for_and_one_id_of_the_request(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True)
        events = events_in(answer.text)
        assert {event["model"] for event in events} == {"m"}
        assert len({event["id"] for event in events}) == 1
        assert answer.headers["x-request-id"] == kept.watcher.exchange.id
        await kept.over()
        assert (kept.record.served_model, kept.record.provider_model) == ("model-1", "model-1")


async def test_all_of_several_choices_begin_anew(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = SECOND
        answer = await kept.gateway.post(stream=True, n=2)
        said = {0: "", 1: ""}
        for event in events_in(answer.text):
            for choice in event["choices"]:
                said[choice["index"]] += choice["delta"].get("content") or ""
        assert said == {0: "all is well", 1: "all is well"}


async def test_one_deployment_alone_holds_nothing_back(serve: Any) -> None:
    async with books(serve, ("direct",), params=RESTART) as kept:
        kept.providers[0].default = Script(events=WORDS)
        answer = await kept.gateway.post(stream=True)
        assert text_of(answer.text).endswith(" 038 039")
        assert events_in(answer.text)[-1]["error"]["code"] == "upstream_incomplete"
