"""`on_break: continue` through the gateway, with both handlers and everything that counts."""

from typing import Any

import pytest

from crplugins import TokenUsage
from crplugins.testing import Script
from tests.handlers.routing.books import books, chunk, events_in, told, usage
from tests.handlers.routing.test_rescue_restart import ASKED, HANDLERS, PROMPT, WORDS, text_of

CONTINUE = {"on_break": "continue"}
TAKES_PREFILL = {"supports_assistant_prefill": True}
FIRST = "".join(f" {number:03}" for number in range(40))
REST = Script(text=" and the rest", usage_object=usage(60, 4))


@pytest.fixture(params=HANDLERS, ids="-".join)
def handlers(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Script(events=WORDS), id="cut"),
        pytest.param(Script(events=WORDS, stall_after=41), id="stall"),
        pytest.param(Script(events=[*WORDS, b'data: {"error": {"message": "no", "code": 500}}\n\n']), id="error"),
    ],
)
async def test_a_stream_goes_on_where_it_broke(serve: Any, handlers: Any, broken: Script) -> None:
    params = CONTINUE | {"stall_timeout": 0.4}
    async with books(serve, handlers, params=params, info=TAKES_PREFILL) as kept:
        kept.providers[0].default = broken
        kept.providers[1].default = REST
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert text_of(answer.text) == FIRST + " and the rest"
        events = events_in(answer.text)
        assert {event["model"] for event in events} == {"m"}
        assert len({event["id"] for event in events}) == 1
        roles = [choice["delta"].get("role") for event in events for choice in event["choices"]]
        assert len([role for role in roles if role]) == 1
        assert answer.headers["x-request-id"] == kept.watcher.exchange.id
        assert told(answer.text)["total_tokens"] == PROMPT + 40 + 64
        assert kept.providers[1].last_request.json["messages"][-1] == {"role": "assistant", "content": FIRST}
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(60, 4), source="estimated")
        assert (kept.record.outcome, kept.record.served_model) == ("ok", "model-1")
        assert (await kept.counted())["crplugins_stream_rescues_total"] == 1


async def test_vllm_is_told_to_continue_the_last_message(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=CONTINUE, provider_name="hosted_vllm") as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = REST
        answer = await kept.gateway.post(stream=True)
        assert text_of(answer.text) == FIRST + " and the rest"
        asked = kept.providers[1].last_request.json
        assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)


async def test_a_refusal_of_the_beginning_is_an_honest_error(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers, params=CONTINUE, info=TAKES_PREFILL) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script.error(400, "This model does not support assistant message prefill.")
        answer = await kept.gateway.post(stream=True)
        assert text_of(answer.text) == FIRST
        assert events_in(answer.text)[-1]["error"]["code"] == "upstream_incomplete"
        assert "prefill" not in answer.text
        await kept.agree(TokenUsage(PROMPT, 40), source="estimated")
        assert kept.record.outcome == "server_error"


async def test_usage_that_the_second_does_not_tell_is_estimated_with_the_longer_prompt(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), params=CONTINUE, info=TAKES_PREFILL) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script(text=" and the rest", usage="off")
        await kept.gateway.post(stream=True)
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(PROMPT + 40, 3), source="estimated")


@pytest.mark.parametrize("on_disconnect", ["cancel", "drain"])
async def test_a_client_that_leaves_during_the_rescue_ends_it(serve: Any, handlers: Any, on_disconnect: str) -> None:
    words = {"on_disconnect": on_disconnect, "usage": {"drain_seconds": 0.2}}
    async with books(serve, handlers, params=CONTINUE, info=TAKES_PREFILL, **words) as kept:
        kept.providers[0].default = Script(events=WORDS)
        kept.providers[1].default = Script(first_byte_delay=30)
        async with kept.gateway.open(stream=True, model="m") as response:
            await response.content.readline()
            await kept.providers[1].wait_for_requests(1)
        for provider in kept.providers:
            await provider.wait_idle(within=5)
        await kept.agree(TokenUsage(PROMPT, 40), TokenUsage(PROMPT + 40, 0), source="estimated")
        assert kept.record.outcome == "cancelled"


async def test_a_stream_that_does_not_break_passes_byte_for_byte(serve: Any) -> None:
    words = {"params": CONTINUE, "info": TAKES_PREFILL, "response_model": "served"}
    async with books(serve, ("direct", "direct"), **words) as kept:
        events = [*WORDS, chunk(finish="stop"), chunk(usage=usage(20, 40)), b"data: [DONE]\n\n"]
        kept.providers[0].default = Script(events=events)
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert answer.body == b"".join(events)
        await kept.agree(TokenUsage(20, 40))
