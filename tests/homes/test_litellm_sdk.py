"""UsageCallback: litellm's SDK against a fake provider, metered like a gateway."""

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crplugins.core.log_lines import NO_REQUEST, REQUEST_ID
from crplugins.core.principal import Principal
from crplugins.metering.record import UsageRecord
from crplugins.testing import FakeProvider, Script

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no look-up in the network
litellm = pytest.importorskip("litellm")

from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER  # noqa: E402

from crplugins.homes.litellm_sdk import UsageCallback  # noqa: E402
from crplugins.plugins.metrics.plugin import Metrics  # noqa: E402

HELLO: Any = [{"role": "user", "content": "Say hello to the gateway, please."}]


class Sunk(list[UsageRecord]):
    """Records as they come."""

    async def one(self) -> UsageRecord:
        for _ in range(200):
            if self:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert len(self) == 1, self
        return self[0]


pytestmark = pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm", "ignore:Pydantic serializer warnings")


@pytest.fixture(scope="module", autouse=True)
def warm_litellm() -> None:
    """Its first call imports and compiles for a second, with warnings. A thread of litellm's tells of it when it is over,
    to whichever callback is there by then."""
    told = threading.Event()
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(litellm, "success_callback", [lambda *_: told.set()])
        litellm.completion(model="openai/x", messages=HELLO, mock_response="hello")
        assert told.wait(60)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def no_other_callbacks() -> Iterator[None]:
    """litellm takes one callback of a class, and copies it into lists of its own. What it has not told of yet, of calls
    of earlier tests in this process, it would tell of to the next one."""
    litellm.logging_callback_manager._reset_all_callbacks()
    waiting = GLOBAL_LOGGING_WORKER._queue
    for untold in () if waiting is None else GLOBAL_LOGGING_WORKER._drain_pending(waiting):
        untold["coroutine"].close()
    yield
    litellm.logging_callback_manager._reset_all_callbacks()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Sunk:
    sunk = Sunk()
    callback = UsageCallback(sinks=[sunk.append], principal=Principal("batch", team="search"), metadata=["job"])
    monkeypatch.setattr(litellm, "callbacks", [callback])
    return sunk


def asked(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    return {
        "model": "openai/fake-model",
        "messages": HELLO,
        "api_base": provider.base_url,
        "api_key": "sk-upstream",
        "max_retries": 0,
        **more,
    }


async def test_a_plain_call_is_one_record(provider: FakeProvider, records: Sunk) -> None:
    answer = await litellm.acompletion(**asked(provider, metadata={"job": "nightly"}, user="u-1"))
    record = await records.one()
    told = provider.last_request.usage
    assert told == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (record.usage.input_tokens, record.usage.output_tokens) == told
    assert (record.status, record.outcome, record.usage_source) == (200, "ok", "provider")
    assert (record.key_id, record.team, record.provider) == ("batch", "search", "openai")
    assert (record.requested_model, record.user) == ("fake-model", "u-1")
    assert record.tags == {"job": "nightly"}
    assert record.duration_ms > 0


async def test_a_stream_that_asks_has_the_providers_usage(provider: FakeProvider, records: Sunk) -> None:
    stream = await litellm.acompletion(**asked(provider, stream=True, stream_options={"include_usage": True}))
    async for _ in stream:
        pass
    record = await records.one()
    assert (record.usage.input_tokens, record.usage.output_tokens) == provider.last_request.usage
    assert (record.stream, record.usage_source) == (True, "provider")
    assert record.ttft_ms is not None


async def test_a_stream_that_does_not_ask_is_marked_as_estimated(provider: FakeProvider, records: Sunk) -> None:
    async for _ in await litellm.acompletion(**asked(provider, stream=True)):
        pass
    record = await records.one()
    assert record.usage_source == "estimated"
    assert record.usage.output_tokens > 0


async def test_a_failure_is_one_record(provider: FakeProvider, records: Sunk) -> None:
    provider.enqueue(Script.error(400, "no such thing"))
    with pytest.raises(litellm.BadRequestError):
        await litellm.acompletion(**asked(provider))
    record = await records.one()
    assert (record.status, record.outcome, record.error_type) == (400, "client_error", "upstream_4xx")
    assert record.usage_source == "none"


@pytest.mark.parametrize("forward", [-3600, 3600])
def test_a_wall_clock_that_is_set_during_a_call_makes_no_time_negative(forward: float) -> None:
    records: list[UsageRecord] = []
    callback = UsageCallback(sinks=[records.append])
    end = datetime.now()  # noqa: DTZ005  # as litellm's are
    first, begun = end - timedelta(seconds=forward / 2), end - timedelta(seconds=forward)
    reported = {"model": "x", "custom_llm_provider": "openai", "call_type": "completion", "stream": True}
    callback.log_success_event({**reported, "completion_start_time": first}, None, begun, end)
    (record,) = records
    assert record.duration_ms == pytest.approx(max(forward, 0) * 1000, abs=1)
    assert record.ttft_ms == pytest.approx(max(forward, 0) * 500, abs=1)


def test_lines_of_the_log_behind_a_call_are_not_about_it(records: Sunk) -> None:
    now = datetime.now()  # noqa: DTZ005  # as litellm's are
    call = {"call_type": "completion", "litellm_call_id": "one", "model": "fake-model", "messages": HELLO}
    UsageCallback(sinks=[records.append]).log_failure_event(call, None, now, now)
    assert len(records) == 1
    assert REQUEST_ID.get() == NO_REQUEST


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_from_a_thread_is_one_record(provider: FakeProvider, records: Sunk, stream: bool) -> None:
    def call() -> None:
        answer = litellm.completion(
            **asked(provider, stream=stream, stream_options={"include_usage": True} if stream else None)
        )
        if stream:
            for _ in answer:
                pass

    await asyncio.to_thread(call)
    record = await records.one()
    assert (record.usage.input_tokens, record.usage.output_tokens) == provider.last_request.usage
    assert record.usage_source == "provider"


async def test_metrics_and_ledger_count_the_same(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger_module = pytest.importorskip("crplugins.ledger.ledger")
    metrics, sunk = Metrics(["fake-model"]), Sunk()
    url = f"sqlite:///{tmp_path}/usage.db"
    made = await asyncio.to_thread(
        UsageCallback, ledger=ledger_module.Ledger(url), metrics=metrics, sinks=[sunk.append]
    )
    async with made as callback:
        monkeypatch.setattr(litellm, "callbacks", [callback])
        await litellm.acompletion(**asked(provider))
        record = await sunk.one()
    labels = {"model": "fake-model", "key_id": "none"}
    counted = [
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name in ("crplugins_input_tokens_total", "crplugins_output_tokens_total")
        and labels.items() <= sample.labels.items()
    ]
    assert sum(counted) == record.usage.input_tokens + record.usage.output_tokens

    def rows() -> int:
        import sqlite3

        with closing(sqlite3.connect(tmp_path / "usage.db")) as database:
            found: int = database.execute(
                "select count(*) from usage where request_id = ?", [record.request_id]
            ).fetchone()[0]
            return found

    assert await asyncio.to_thread(rows) == 1
