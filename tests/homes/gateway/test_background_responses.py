"""Responses in the background: answered at once, and counted once, when their provider has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from crplugins.handlers import background
from crplugins.metering.record import UsageRecord
from tests.homes.gateway.test_stored_responses import Kept, keeping

ASKED = {"model": "fast", "input": "Hello", "background": True}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is asked ten times a second."""
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(background, "LONGEST_PAUSE", 0.1)


@asynccontextmanager
async def running(**more: Any) -> AsyncIterator[tuple[Kept, str]]:
    """One response in the background, and its id."""
    stream = more.pop("stream", False)
    async with keeping(**more) as kept:
        answer = await kept.create(background=True, stream=stream)
        assert answer.status_code == 200, answer.text
        yield kept, "" if stream else answer.json()["id"]


async def records(kept: Kept, number: int) -> list[UsageRecord]:
    async with asyncio.timeout(60):
        while len(kept.records) < number:  # noqa: ASYNC110  # a sink that is a list
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # another one would come by then
    assert len(kept.records) == number
    return kept.records


async def one_record(kept: Kept) -> UsageRecord:
    [record] = await records(kept, 1)
    return record


async def test_it_is_answered_at_once_and_counted_when_it_has_ended() -> None:
    async with running() as (kept, mine):
        assert mine.startswith("resp_")
        read = await kept.ask("GET", f"/v1/responses/{mine}")
        assert (read.json()["id"], read.json()["status"]) == (mine, "in_progress")
        await asyncio.sleep(0.3)
        assert kept.records == []
        kept.providers[0].end()
        record = await one_record(kept)
        used = kept.providers[0].kept["Bearer sk-account-of-the-gateway", "resp_a1"]["usage"]
        assert (record.usage.input_tokens, record.usage.output_tokens) == (used["input_tokens"], used["output_tokens"])
        assert (record.usage_source, record.outcome, record.status) == ("provider", "ok", 200)
        assert (record.finish_reason, record.key_id, record.stream) == ("stop", "ann", False)
        assert record.duration_ms > 300
        assert record.overhead_us < 300_000  # the provider has worked meanwhile


async def test_what_a_client_reads_itself_is_counted_without_another_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 600.0)
    async with running() as (kept, mine):
        kept.providers[0].end()
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).json()["status"] == "completed"
        record = await one_record(kept)
        assert (record.usage_source, record.outcome) == ("provider", "ok")
        assert [method for method, *_ in kept.providers[0].asked] == ["POST", "GET"]


async def test_a_stream_that_a_client_reads_later_has_it_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 600.0)
    async with running() as (kept, mine):
        kept.providers[0].end()
        told = await kept.ask("GET", f"/v1/responses/{mine}?stream=true")
        assert b"response.completed" in told.content
        assert (await one_record(kept)).usage_source == "provider"


async def test_a_stream_that_breaks_is_counted_to_its_end() -> None:
    async with running(stream=True) as (kept, _):
        await asyncio.sleep(0.3)
        assert kept.records == []
        kept.providers[0].end()
        record = await one_record(kept)
        assert (record.usage_source, record.usage.output_tokens > 0, record.stream) == ("provider", True, True)
        assert record.error_type == "upstream_stream_broken"  # which is what its client has seen


async def test_one_that_fails_is_recorded_as_failed_with_what_it_has_used() -> None:
    async with running() as (kept, _):
        kept.providers[0].end(status="failed", error={"code": "server_error", "message": "Broken."})
        record = await one_record(kept)
        assert (record.outcome, record.usage_source, record.usage.output_tokens > 0) == (
            "server_error",
            "provider",
            True,
        )


async def test_one_that_is_cancelled_is_recorded_as_cancelled() -> None:
    async with running() as (kept, mine):
        answer = await kept.ask("POST", f"/v1/responses/{mine}/cancel")
        assert (answer.json()["id"], answer.json()["status"]) == (mine, "cancelled")
        record = await one_record(kept)
        assert (record.outcome, record.finish_reason, record.usage_source) == ("cancelled", "cancelled", "estimated")
        assert record.usage.input_tokens > 0


async def test_a_response_that_runs_cannot_be_deleted_and_one_that_has_ended_is_counted_before() -> None:
    async with running() as (kept, mine):
        refused = await kept.ask("DELETE", f"/v1/responses/{mine}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "response_in_progress")
        kept.providers[0].end()
        assert (await kept.ask("DELETE", f"/v1/responses/{mine}")).json()["deleted"] is True
        assert (await one_record(kept)).usage_source == "provider"


async def test_of_one_that_nobody_has_any_more_the_use_is_estimated_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as (kept, _):
        kept.providers[0].kept.clear()
        record = await one_record(kept)
        assert (record.usage_source, record.status, record.outcome) == ("estimated", 200, "cancelled")
        assert record.usage.input_tokens > 0
        assert "nobody knows what its response in the background has used, which is estimated" in caplog.text


async def test_a_provider_that_is_down_for_a_while_is_asked_again() -> None:
    async with running() as (kept, _):
        kept.providers[0].down = True
        await asyncio.sleep(0.5)
        kept.providers[0].end()
        assert kept.records == []
        kept.providers[0].down = False
        assert (await one_record(kept)).usage_source == "provider"


async def test_it_is_not_waited_for_longer_than_the_configuration_says() -> None:
    async with running(responses={"background_seconds": 0.5}) as (kept, _):
        record = await one_record(kept)
        assert record.usage_source == "estimated"
        assert record.duration_ms >= 500


async def test_no_more_are_waited_for_than_the_configuration_says() -> None:
    async with running(responses={"max_background": 1}) as (kept, _):
        full = await kept.create(background=True)
        assert (full.status_code, full.json()["error"]["code"]) == (503, "server_full")
        assert (await kept.create()).status_code == 200
        kept.providers[0].end()
        await records(kept, 3)
        assert (await kept.create(background=True)).status_code == 200


async def test_without_room_for_any_it_is_refused() -> None:
    async with keeping(responses={"max_background": 0}) as kept:
        answer = await kept.create(background=True)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")
        assert kept.providers[0].asked == []


async def test_what_is_reserved_is_held_until_it_has_ended() -> None:
    keys = [{"id": "ann", "secret": f"sk-test-of-ann-{'x' * 20}", "limits": {"max_parallel_requests": 1}}]
    async with running(keys=keys) as (kept, mine):
        assert (await kept.create()).status_code == 429
        kept.providers[0].end()
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 200
        await records(kept, 2)
        assert (await kept.create()).status_code == 200


async def test_a_client_that_leaves_before_the_answer_leaves_it_to_be_counted() -> None:
    async with keeping() as kept:
        provider = kept.providers[0]
        provider.slow = 1.0
        with pytest.raises(httpx.ReadTimeout):
            await kept.ask("POST", "/v1/responses", json=ASKED, timeout=0.3)
        await asyncio.wait_for(provider.began.wait(), 60)
        provider.end()
        record = await one_record(kept)
        assert (record.usage_source, record.status, record.error_type) == ("provider", 499, "client_disconnected")


async def test_the_end_of_the_process_asks_once_more_and_estimates_the_rest() -> None:
    async with running() as (kept, _):
        kept.providers[0].end()
        assert (await kept.create(background=True)).status_code == 200
    known = [record.usage_source for record in kept.records]
    assert sorted(known) == ["estimated", "provider"]


async def test_a_reload_keeps_what_it_was_made_with_until_it_has_ended() -> None:
    async with running() as (kept, mine):
        await kept.app.reload(kept.app.config.model_copy(update={"num_retries": 1}))
        kept.providers[0].end()
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).json()["status"] == "completed"
        assert (await one_record(kept)).usage_source == "provider"
