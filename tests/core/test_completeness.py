import json
from typing import Any

import pytest

from crplugins.core.completeness import Completeness
from crplugins.core.sse import Event, done_event

ABSENT = object()
DONE = done_event()


def chunk(index: int = 0, finish_reason: Any = None, content: str | None = None) -> Event:
    choice: dict[str, Any] = {"index": index, "delta": {} if content is None else {"content": content}}
    if finish_reason is not ABSENT:
        choice["finish_reason"] = finish_reason
    return Event.of(json.dumps({"choices": [choice]}).encode())


def is_complete(*events: Event, choices: int = 1) -> bool:
    completeness = Completeness(choices)
    for event in events:
        completeness.see(event)
    return completeness.complete


def test_nothing_is_not_complete() -> None:
    assert not is_complete()
    assert not is_complete(DONE)


def test_a_usage_chunk_alone_is_not_complete() -> None:
    assert not is_complete(Event.of(b'{"choices":[],"usage":{"prompt_tokens":3}}'), DONE)


@pytest.mark.parametrize("filler", [None, "", "null"])
def test_done_does_not_complete_an_answer_that_has_not_ended(filler: str | None) -> None:
    assert not is_complete(chunk(0, filler, "a"), chunk(0, filler, "b"), DONE)


def test_done_completes_the_answer_of_a_provider_that_never_says_how_it_ended() -> None:
    assert is_complete(chunk(0, ABSENT, "a"), chunk(0, ABSENT, "b"), DONE)
    assert not is_complete(chunk(0, ABSENT, "a"))


def test_every_choice_must_finish() -> None:
    assert not is_complete(chunk(0), chunk(1), chunk(0, "stop"))
    assert is_complete(chunk(0), chunk(1), chunk(0, "stop"), chunk(1, "length"))


def test_a_choice_that_never_began_is_missing() -> None:
    assert not is_complete(chunk(0, None, "a"), chunk(0, "stop"), DONE, choices=2)
    assert is_complete(chunk(0, "stop", "a"), chunk(1, "stop", "b"), choices=2)


def test_a_choice_that_goes_on_after_its_finish_is_open_again() -> None:
    assert not is_complete(chunk(0, "stop"), chunk(0, None, "more"))
    assert is_complete(chunk(0, "stop"), chunk(0, None, "more"), chunk(0, "stop"))


def test_what_says_nothing_after_a_finish_does_not_reopen_the_choice() -> None:
    """Azure sends its filter's results so, and some relays an empty delta beside the usage."""
    filtered = {"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": {}}
    assert is_complete(
        chunk(0, "stop", "a"), Event.of(json.dumps({"choices": [filtered]}).encode()), chunk(0, None, "")
    )


def test_a_word_on_every_chunk_ends_it_each_time() -> None:
    assert is_complete(chunk(0, "stop", "a"), chunk(0, "stop", "b"))


@pytest.mark.parametrize("event", [Event.of(b'{"error":{"message":"x"}}'), chunk(0, "error"), chunk(0, "abort")])
def test_a_failure_is_never_complete(event: Event) -> None:
    assert not is_complete(chunk(0, None, "a"), event, chunk(0, "stop"), DONE)


def test_a_comment_and_a_heartbeat_change_nothing() -> None:
    assert is_complete(chunk(0, "stop", "a"), Event(b": comment\n\n", None), Event.of(b"{}"))


BARE_ERROR = Event.of(b'{"error":{"message":"x"}}')
PART = Event.of(b'{"error":{"message":"x"},"choices":[{"index":0,"delta":{},"finish_reason":null}]}')


@pytest.mark.parametrize(
    ("event", "behind"), [(BARE_ERROR, True), (Event.of(b"{oops"), True), (PART, False), (DONE, False)]
)
def test_only_what_is_none_of_it_is_behind_a_complete_answer(event: Event, behind: bool) -> None:
    """OpenRouter sends the error of a choice beside the choice."""
    completeness = Completeness()
    completeness.see(chunk(0, None, "a"))
    assert not completeness.is_behind(event)
    completeness.see(chunk(0, "stop"))
    assert completeness.is_behind(event) == behind
