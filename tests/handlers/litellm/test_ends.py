"""When an answer through litellm has come to its end, and when it has not, whatever comes before and after."""

import asyncio
import json
from typing import Any

import pytest

from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import ASKING, Told, asking

WAYS = ["openai/m", "hosted_vllm/m", "groq/m"]
"""OpenAI's SDK, litellm's reader of lines, and one with a parser of its own."""
PATIENCE = 0.8
"""Seconds of a provider's silence that are a timeout, where one is waited for: longer than MOMENT."""
MOMENT = 0.1
"""Seconds for which [DONE] is waited for behind a finished and counted answer; one by default, in each of these tests."""
DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.fixture(autouse=True)
def short_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crplugins.handlers.litellm.stream._GRACE_SECONDS", MOMENT)


def event(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(chunk)}\n\n".encode()


ROLE, ONE, TWO = event({"role": "assistant", "content": ""}), event({"content": "one "}), event({"content": "two"})
STOP, USAGE = event({}, "stop"), event(usage=COUNTS)


async def told_of(model: str, *events: bytes, patience: float = 30.0, **body: Any) -> Told:
    script = Script(events=[one for one in events if one is not HANG], stall_after=stall(events))
    async with FakeProvider(default=script) as provider, asking(provider, model, patience=patience) as asked:
        return await asked.stream(**ASKING, **body)


HANG = b"hang"
"""In a list of events: nothing more comes, and the connection stays."""


def stall(events: tuple[bytes, ...]) -> int | None:
    return events.index(HANG) if HANG in events else None


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_a_finish_reason_on_every_chunk_ends_nothing(model: str, reason: str) -> None:
    events = (event({"role": "assistant", "content": "one "}, reason), event({"content": "two"}, reason), USAGE, DONE)
    told = await told_of(model, *events)
    assert (told.said("content"), told.finish_reasons(), told.done) == ("one two", [reason], True)


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize("reason", [None, "", "null"])
async def test_a_cut_behind_which_a_gateway_writes_done_is_a_cut(model: str, reason: str | None) -> None:
    told = await told_of(
        model, event({"role": "assistant", "content": "one "}, reason), event({"content": "two"}, reason), DONE
    )
    assert told.error is not None
    assert told.error.code == "upstream_incomplete"
    assert (told.finish_reasons(), told.done) == ([], False)


@pytest.mark.parametrize("model", [*WAYS, "snowflake/m"])
async def test_a_provider_that_never_names_a_finish_reason_ends_with_done(model: str) -> None:
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "one"}}]}
    told = await told_of(model, f"data: {json.dumps(chunk)}\n\n".encode(), USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.done) == ("one", ["stop"], True)


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize("end", [b"", DONE])
async def test_a_choice_that_never_began_is_missing(model: str, end: bytes) -> None:
    events = [event({"role": "assistant", "content": "one"}), STOP, USAGE, *([end] if end else [])]
    assert (await told_of(model, *events, n=2)).error is not None
    both = [event({"role": "assistant", "content": "two"}, index=1), event({}, "stop", index=1)]
    assert (await told_of(model, *both, *events, n=2)).error is None


@pytest.mark.parametrize("model", WAYS)
async def test_a_finished_and_counted_answer_waits_for_done_no_longer_than_a_moment(model: str) -> None:
    async with asyncio.timeout(60):
        told = await told_of(model, ROLE, ONE, STOP, USAGE, HANG, patience=600.0)
    assert (told.said("content"), told.done, len(told.usages())) == ("one ", True, 1)


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize(
    "last",
    [
        [ROLE, ONE, event({"content": "two"}, "stop", usage=COUNTS)],
        [ROLE, ONE, event({"content": "two"}, "stop"), USAGE],
        [event({"role": "assistant", "content": "one two"}, "stop"), USAGE],
    ],
    ids=["counted on the same chunk", "counted behind it", "all in one chunk"],
)
async def test_a_finish_reason_beside_the_last_words_is_waited_behind_no_longer(model: str, last: list[bytes]) -> None:
    async with asyncio.timeout(60):
        told = await told_of(model, *last, HANG, patience=600.0)
    assert (told.said("content"), told.finish_reasons(), told.done) == ("one two", ["stop"], True)


@pytest.mark.parametrize("model", WAYS)
async def test_heartbeats_do_not_prolong_a_finished_and_counted_answer(model: str) -> None:
    beats = [b": keep-alive\n\n", b"data: {}\n\n"] * 2_000
    events = [ROLE, ONE, event({"content": "two"}, "stop"), USAGE, *beats]
    async with FakeProvider(default=Script(events=events, frame_delay=MOMENT / 5)) as provider:
        async with asking(provider, model, patience=600.0) as asked, asyncio.timeout(60):
            told = await asked.stream(**ASKING)
    assert (told.said("content"), told.error, told.done) == ("one two", None, True)


@pytest.mark.parametrize("model", WAYS)
@pytest.mark.parametrize(
    "chunks",
    [
        [event({"content": "one "}, "stop", usage=COUNTS)],
        [ONE, event({"content": "two "}, "stop", usage=COUNTS), event({"content": "three"}, "stop", usage=COUNTS)],
        [ONE, event({"content": "two "}, "stop")],
    ],
    ids=["on the first chunk", "on two chunks", "not counted"],
)
async def test_a_finish_reason_that_may_be_one_of_many_is_waited_behind(model: str, chunks: list[bytes]) -> None:
    told = await told_of(model, *chunks, HANG, patience=PATIENCE)
    assert told.error is not None
    assert told.error.code == "upstream_timeout"


@pytest.mark.parametrize("model", WAYS)
async def test_what_breaks_behind_a_complete_answer_breaks_nothing(model: str) -> None:
    for behind in (b"data: {broken\n\n", b'data: {"error":{"message":"idle"}}\n\n', b"data: [1]\n\n"):
        told = await told_of(model, ROLE, ONE, STOP, USAGE, behind)
        assert (told.said("content"), told.error, told.done) == ("one ", None, True), behind
    script = Script(events=[ROLE, ONE, STOP, USAGE, ONE], reset_after=4)
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        assert (await asked.stream()).done


@pytest.mark.parametrize("model", WAYS)
async def test_an_error_before_the_counts_is_an_error_though_a_finish_reason_came(model: str) -> None:
    told = await told_of(model, ROLE, ONE, STOP, b'data: {"error":{"message":"overloaded","code":503}}\n\n', DONE)
    assert told.error is not None


@pytest.mark.parametrize("model", WAYS)
async def test_a_role_alone_commits_to_nothing(model: str) -> None:
    refusal = b'data: {"error":{"message":"slow down","code":429}}\n\n'
    async with FakeProvider(default=Script(events=[ROLE, ROLE, refusal])) as provider, asking(provider, model) as asked:
        assert (await asked.refusal(stream=True)).status == 429


@pytest.mark.parametrize("model", WAYS)
async def test_roles_do_not_feed_the_timeout(model: str) -> None:
    script = Script(events=[ROLE] * 1000, frame_delay=PATIENCE / 5)
    async with FakeProvider(default=script) as provider, asking(provider, model, patience=PATIENCE) as asked:
        async with asyncio.timeout(60):
            assert (await asked.refusal(stream=True)).status == 504


@pytest.mark.parametrize("model", WAYS)
async def test_an_answer_without_a_word_is_an_answer(model: str) -> None:
    told = await told_of(model, ROLE, STOP, USAGE, DONE)
    assert (told.said("content"), told.finish_reasons(), told.done) == ("", ["stop"], True)
    assert told.deltas()[0] == {"role": "assistant", "content": "", "refusal": None}


@pytest.mark.parametrize("model", WAYS)
async def test_halves_of_an_emoji_in_two_chunks_arrive(model: str) -> None:
    halves = [event({"content": half}) for half in ("\ud83d", "\ude00")]
    told = await told_of(model, ROLE, ONE, *halves, STOP, USAGE, DONE)
    assert told.error is None
    assert told.said("content").encode("utf-16", "surrogatepass").decode("utf-16") == "one \U0001f600"


@pytest.mark.parametrize("model", WAYS)
async def test_counts_inside_a_choice_are_the_providers(model: str) -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": COUNTS}
    last = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    events = [ROLE, ONE, f"data: {json.dumps(last)}\n\n".encode(), DONE]
    async with FakeProvider(default=Script(events=events)) as provider, asking(provider, model) as asked:
        told = await asked.stream(**ASKING)
        assert asked.exchange.usage is not None
        assert (asked.exchange.usage.output_tokens, asked.exchange.usage_source) == (3, "provider")
    assert [usage["prompt_tokens"] for usage in told.usages()] == [7]


@pytest.mark.parametrize("model", WAYS)
async def test_what_a_provider_had_counted_of_a_broken_answer_is_kept_as_its_own(model: str) -> None:
    early = event({"content": "many words that nobody has counted yet"}, usage=COUNTS)
    events = [ROLE, early, event({"content": "and more"})]
    async with FakeProvider(default=Script(events=events)) as provider, asking(provider, model) as asked:
        assert (await asked.stream()).error is not None
        exchange = asked.exchange
    assert exchange.usage is not None
    assert exchange.usage == exchange.reported  # what is free where the rest is not counted, and estimated upon else
    assert (exchange.usage.input_tokens, exchange.usage.output_tokens, exchange.usage_source) == (7, 3, "provider")
