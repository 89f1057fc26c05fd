"""Streams through litellm as servers of OpenAI's wire send them that do not keep to it."""

import json
from typing import Any

import pytest

from crplugins.testing import FakeProvider, Script
from tests.handlers.litellm.test_ends import DONE, ROLE, STOP, USAGE, WAYS, event, told_of
from tests.litellm_setup import asking

pytestmark = pytest.mark.parametrize("model", WAYS)


def bare(**chunk: Any) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


ERRORS = [
    (bare(code=429, message="slow down"), 429),
    (bare(object="error", message="too long", type="BadRequestError", code=400), 400),
    (b'event: error\ndata: {"code":422,"details":"no such option"}\n\n', 422),
    (b'error: {"code":400,"message":"too long","type":"invalid_request_error"}\n\n', 400),
    (b"event: error\ndata: overloaded\n\n", 502),
    (event({"content": ""}, "error", choices=[{"index": 0, "delta": {}, "error": {"code": 429, "message": "slow"}}]), 429),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status"), ERRORS)
async def test_an_error_in_a_providers_own_words_keeps_its_status(model: str, error: bytes, status: int) -> None:
    async with FakeProvider(default=Script(events=[error, DONE])) as provider, asking(provider, model) as asked:
        assert (await asked.refusal(stream=True)).status == status


@pytest.mark.parametrize("error", [error for error, _ in ERRORS])
async def test_in_mid_stream_it_makes_no_answer_complete(model: str, error: bytes) -> None:
    # No finish reason is named, so that the end mark alone would make it whole.
    told = await told_of(
        model, bare(id="c", model="m", choices=[{"index": 0, "delta": {"content": "one"}}]), error, DONE
    )
    assert told.error is not None
    assert (told.said("content"), told.finish_reasons(), told.done) == ("one", [], False)


@pytest.mark.parametrize("error", [{}, "", False, {"message": "", "type": "", "param": "", "code": None}])
async def test_an_error_that_says_nothing_is_none(model: str, error: Any) -> None:
    told = await told_of(model, event({"content": "one"}, error=error), event({}, "stop", error=error), USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.error, told.done) == ("one", ["stop"], None, True)


@pytest.mark.parametrize(
    "reason",
    ["aborted", "insufficient_system_resource", "function_call_filter: MALFORMED_FUNCTION_CALL", "upstream_error"],
)
async def test_a_finish_reason_of_a_failure_never_looks_like_an_end(model: str, reason: str) -> None:
    told = await told_of(model, event({"content": "one"}), event({}, reason), USAGE, DONE)
    assert told.error is not None
    assert (told.finish_reasons(), told.done) == ([], False)


def message(content: str | None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return bare(id="c", model="m", choices=[choice])


@pytest.mark.parametrize(
    "events",
    [
        [message("one"), message(" two"), message("", "stop")],
        [message("one two", "stop")],
        [event({"content": "one"}), event({"content": " two"}), message("one two", "stop")],
    ],
)
async def test_messages_in_place_of_deltas_are_heard_and_nothing_twice(model: str, events: list[bytes]) -> None:
    told = await told_of(model, *events, USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.done) == ("one two", ["stop"], True)


@pytest.mark.parametrize(
    "thought",
    [{"reasoning_text": "hm"}, {"reasoning": "hm", "reasoning_content": "hm"},
     {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]}],
)  # fmt: skip
async def test_thoughts_have_one_name_whatever_their_providers_is(model: str, thought: Any) -> None:
    told = await told_of(model, event(thought), event({"content": "one"}), STOP, USAGE, DONE)
    assert (told.said("reasoning_content"), told.said("content"), told.done) == ("hm", "one", True)


async def test_objects_that_are_no_part_of_an_answer_are_signs_of_life(model: str) -> None:
    odd = [bare(object="chat.completion.heartbeat"), bare(progress=0.5), bare(code=0, msg="ok")]
    told = await told_of(model, *odd, ROLE, *odd, event({"content": "one"}), *odd, STOP, USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.error, told.done) == ("one", ["stop"], None, True)
