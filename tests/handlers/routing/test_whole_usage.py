"""Several attempts at one request: their tokens are one sum, in the books and for the client."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins import TokenUsage
from crplugins.core.dialects.chat_usage import usage_object
from crplugins.core.reported_usage import read_usage
from crplugins.testing import Script
from tests.handlers.routing.books import DONE, books, chunk, told, usage

HANDLERS = [("direct", "litellm"), ("litellm", "direct")]
ASKED = {"stream_options": {"include_usage": True}}
BILLED = usage(1000, 40)
FAILED = {"error": {"message": "the engine died", "type": "server_error", "code": 500}, "usage": BILLED}


@pytest.fixture(params=HANDLERS, ids="-".join)
def handlers(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([b"data: " + json.dumps(FAILED).encode() + b"\n\n"], id="in the error itself"),
        pytest.param(
            [chunk("", role="assistant"), chunk(usage=BILLED), b'data: {"error": {"message": "no", "code": 500}}\n\n'],
            id="before the error",
        ),
        pytest.param([chunk("", role="assistant", usage=BILLED), chunk(usage=BILLED)], id="before the stream is cut"),
    ],
)
async def test_a_stream_that_was_billed_and_failed_before_its_first_token_stays_in_the_books(
    serve: Any, handlers: Any, events: list[bytes]
) -> None:
    async with books(serve, handlers) as kept:
        kept.providers[0].default = Script(events=events)
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert (answer.status, kept.calls) == (200, [1, 1])
        shown = told(answer.text)
        assert shown is not None
        assert {name: shown[name] for name in BILLED} == usage(1020, 43)
        await kept.agree(TokenUsage(1000, 40), TokenUsage(20, 3))
        assert kept.record.attempts == 2


async def test_a_client_that_did_not_ask_sees_no_usage_of_either(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers) as kept:
        kept.providers[0].default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        answer = await kept.gateway.post(stream=True)
        assert "usage" not in answer.text
        await kept.agree(TokenUsage(1000, 40), TokenUsage(20, 3))


async def test_a_plain_answer_that_was_billed_and_is_none_stays_in_the_books(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers) as kept:
        kept.providers[0].default = Script(body={"choices": [], "usage": BILLED})
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        answer = await kept.gateway.post()
        assert (answer.status, kept.calls) == (200, [1, 1])
        document = json.loads(answer.body)
        assert document["choices"][0]["message"]["content"] == "all is well"
        assert {name: document["usage"][name] for name in BILLED} == usage(1020, 43)
        await kept.agree(TokenUsage(1000, 40), TokenUsage(20, 3))


async def test_an_attempt_that_used_nothing_changes_no_byte_of_the_next_answer(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), response_model="served") as kept:
        kept.providers[0].default = Script.error(500, "no")
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert told(answer.text) == usage(20, 3)
        await kept.agree(TokenUsage(), TokenUsage(20, 3))


async def test_an_answer_that_no_provider_counted_is_estimated_beside_what_another_was_billed(serve: Any) -> None:
    async with books(serve, ("direct", "direct")) as kept:
        kept.providers[0].default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        kept.providers[1].default = Script(text="one two three four", usage="off")
        answer = await kept.gateway.post(stream=True, **ASKED)
        assert told(answer.text) is None
        prompt = kept.record.usage.input_tokens - 1000
        assert 5 <= prompt <= 20
        await kept.agree(TokenUsage(1000, 40), TokenUsage(prompt, 4), source="estimated")


async def test_where_missing_usage_is_free_only_what_was_billed_counts(serve: Any) -> None:
    async with books(serve, ("direct", "direct"), missing_usage="free") as kept:
        kept.providers[0].default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        kept.providers[1].default = Script(text="one two three four", usage="off")
        await kept.gateway.post(stream=True)
        await kept.agree(TokenUsage(1000, 40))


async def test_when_all_fail_what_each_was_billed_is_paid(serve: Any, handlers: Any) -> None:
    async with books(serve, handlers) as kept:
        for provider in kept.providers:
            provider.default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        answer = await kept.gateway.post(stream=True)
        assert answer.status == 500
        await kept.agree(TokenUsage(1000, 40), TokenUsage(1000, 40))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param(
            {**usage(20, 3), "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 7}}, (1020, 43, 7), id="a bill"
        ),
        pytest.param({"input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 3}, (1027, 43, 7), id="names"),
    ],
)
async def test_the_sum_is_told_in_openais_words_and_no_bill_of_one_of_them(
    serve: Any, last: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    async with books(serve, ("direct", "direct")) as kept:
        kept.providers[0].default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        kept.providers[1].default = Script(events=[chunk("a"), chunk(finish="stop"), chunk(usage=last), DONE])
        answer = await kept.gateway.post(stream=True, **ASKED)
        shown = told(answer.text)
        assert shown is not None
        assert "cost" not in shown
        cached = shown["prompt_tokens_details"]["cached_tokens"]
        assert (shown["prompt_tokens"], shown["completion_tokens"], cached) == expected
        assert kept.record.provider_cost_micro_usd == (500_000 if "cost" in last else None)


async def test_the_quota_of_each_deployment_gets_its_own_tokens(serve: Any, handlers: Any) -> None:
    limits = {"per_deployment": {"tokens_per_day": 5_000}}
    async with books(serve, handlers, limits=limits) as kept:
        kept.providers[0].default = Script(events=[b"data: " + json.dumps(FAILED).encode() + b"\n\n"])
        kept.providers[1].default = Script(text="all is well", usage_object=usage(20, 3))
        await kept.gateway.post(stream=True)
        assert 1037 <= await kept.quota_used(0) <= 1040
        assert 20 <= await kept.quota_used(1) <= 23


@given(st.builds(TokenUsage, *[st.integers(0, 1000)] * 2, *[st.integers(0, 90)] * 11))
def test_the_sum_is_read_again_as_it_was_written(counts: TokenUsage) -> None:
    whole = counts + TokenUsage(1000, 1000)  # parts are within their whole, and so in every sum
    written = max(whole.cache_write_input_tokens, whole.long_cache_write_input_tokens)
    whole = TokenUsage(*[written if i == 3 else n for i, n in enumerate(_numbers(whole))])
    assert read_usage(usage_object(whole)).counted() == whole


def _numbers(counts: TokenUsage) -> tuple[int, ...]:
    return tuple(getattr(counts, name) for name in TokenUsage.__struct_fields__)
