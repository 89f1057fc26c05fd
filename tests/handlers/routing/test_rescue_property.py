"""Wherever a stream breaks, and in whatever pieces it comes, the client has one answer."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins import TokenUsage
from crplugins.handlers.routing.on_break import OnBreak
from crplugins.metering.record import record_of
from tests.handlers.routing.books import DONE, chunk, usage
from tests.handlers.routing.scripted import Says, ask

FIRST = [chunk("", role="assistant"), *[chunk(f" {number:03}") for number in range(12)]]
SECOND = [chunk("", role="assistant"), *[chunk(f" {word}") for word in ("all", "is", "well")]]
END = [chunk(finish="stop"), chunk(usage=usage(20, 3)), DONE]
PROMPT = 16
"""Estimated tokens of the question."""

TEXTS = ["".join(f" {number:03}" for number in range(12)), " all is well"]


def text_of(body: bytes) -> str:
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def pieces(events: list[bytes], cuts: set[int]) -> list[bytes]:
    """The events in one piece between each two cuts."""
    ends = [0, *sorted(cut for cut in cuts if 0 < cut < len(events)), len(events)]
    return [b"".join(events[start:end]) for start, end in pairwise(ends)]


cuts = st.sets(st.integers(1, 14))


@settings(max_examples=200, deadline=None)
@given(at=st.integers(2, 13), first=cuts, second=cuts, hold=st.integers(1, 20))
async def test_restarted_it_is_one_of_the_two_whole_or_an_honest_error(
    at: int, first: set[int], second: set[int], hold: int
) -> None:
    broken = Says(*pieces(FIRST[:at], first), breaks=True)
    whole = Says(*pieces([*SECOND, *END], second))
    answered = await ask(OnBreak("restart", hold_tokens=hold), broken, whole)
    if answered.error is None:
        assert text_of(answered.body) == TEXTS[1]
        assert answered.body.count(DONE) == 1
        assert record_of(answered.exchange).usage == TokenUsage(20, 3 + at - 1) + TokenUsage(PROMPT)
    else:
        assert text_of(answered.body) == TEXTS[0][: 4 * (at - 1)]
        assert at - 1 >= hold
        assert whole.asked == []


@settings(max_examples=100, deadline=None)
@given(first=cuts, hold=st.integers(1, 20))
async def test_one_that_does_not_break_passes_byte_for_byte(first: set[int], hold: int) -> None:
    events = [*FIRST, *END]
    answered = await ask(OnBreak("restart", hold_tokens=hold), Says(*pieces(events, first)), Says())
    assert answered.body == b"".join(events)
    record = record_of(answered.exchange)
    assert (record.usage, record.usage_source, record.attempts) == (TokenUsage(20, 3), "provider", 1)
