"""What litellm's readers of lines cannot take is put right before them, for every provider alike."""

import json
from typing import Any

import pytest

from crplugins.handlers.litellm.lines import events_of
from crplugins.testing import FakeProvider, Script
from tests.handlers.litellm.test_ends import DONE, ONE, ROLE, STOP, USAGE, WAYS, told_of
from tests.litellm_setup import asking

MORE_WAYS = [*WAYS, "xai/m", "openrouter/m", "snowflake/m", "databricks/m"]
NOTHING = [
    b"data:\n\n", b"data: {}\n\n", b"event: ping\n\n", b"event: ping\ndata:\n\n", b"retry: 3000\n\n", b"id: 7\n\n",
    b": working\n\n", b'data: {"type":"ping"}\n\n',
]  # fmt: skip


@pytest.mark.parametrize("model", MORE_WAYS)
async def test_what_says_nothing_is_left_out_wherever_it_stands(model: str) -> None:
    events = [each for event in (ROLE, ONE, STOP) for each in (*NOTHING, event)]
    told = await told_of(model, *events, *NOTHING, USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.error, told.done) == ("one ", ["stop"], None, True)
    assert all(isinstance(chunk["choices"], list) for chunk in told.chunks)


@pytest.mark.parametrize("model", WAYS)
async def test_a_last_event_without_its_blank_line_counts(model: str) -> None:
    told = await told_of(model, ROLE, ONE, STOP, USAGE.rstrip())
    assert (told.done, [usage["prompt_tokens"] for usage in told.usages()]) == (True, [7])


def document(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    choices = [{"index": 0, "message": message, "finish_reason": "length"}]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **more}


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize("indent", [None, 2])
async def test_a_document_in_place_of_a_stream_becomes_one(model: str, indent: int | None) -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    body = json.dumps(document(usage=counts), indent=indent).encode()
    script = Script(events=[body], content_type="application/json")
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        told = await asked.stream()
        assert asked.exchange.usage is not None
        assert (asked.exchange.usage.input_tokens, asked.exchange.usage_source) == (7, "provider")
    assert (told.said("content"), told.said("reasoning_content"), told.finish_reasons()) == ("Hello", "hm", ["length"])
    assert told.done


@pytest.mark.parametrize("model", WAYS)
async def test_an_error_in_place_of_a_stream_keeps_its_status(model: str) -> None:
    body = json.dumps({"error": {"message": "slow down", "code": 429}}).encode()
    script = Script(events=[body], content_type="application/json")
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        assert (await asked.refusal(stream=True)).status == 429


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize(
    "body", [b'{"code": 1, "msg": "no"}', b'{"choices": null}', b'{"choices": []}', b"<html>", b"["]
)
async def test_what_is_no_completion_is_a_failure_of_the_provider(model: str, body: bytes) -> None:
    script = Script(events=[body], content_type="application/json")
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        failure = await asked.refusal(stream=True)
    assert (failure.status, failure.error_type) == (502, "upstream_stream_broken")


@pytest.mark.parametrize(
    "document", [b"", b"{", b"1", b'{"choices":[1]}', b'{"choices":{}}', b"[1,2]", b"\xff", b"[" * 9999]
)
def test_odd_documents_make_no_events(document: bytes) -> None:
    assert events_of(document) == []


def test_a_list_of_geminis_chunks_is_a_stream() -> None:
    chunks = [{"candidates": [{"content": {}}]}, {"candidates": [{"finishReason": "STOP"}]}]
    assert [json.loads(event[6:]) for event in events_of(json.dumps(chunks).encode())] == chunks
