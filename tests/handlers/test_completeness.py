import json

from crplugins.core.sse import DONE, Event
from crplugins.handlers.direct_stream import Completeness


def chunk(index: int = 0, finish_reason: str | None = None) -> Event:
    return Event.of(json.dumps({"choices": [{"index": index, "finish_reason": finish_reason}]}).encode())


def state(*events: Event) -> Completeness:
    completeness = Completeness()
    for event in events:
        assert completeness.see(event)
    return completeness


def test_nothing_is_not_complete():
    assert not state().complete


def test_a_usage_chunk_alone_is_not_complete():
    assert not state(Event.of(b'{"choices":[],"usage":{}}')).complete


def test_done_completes_even_without_a_finish_reason():
    assert state(chunk(), DONE).complete


def test_every_choice_must_finish():
    assert not state(chunk(0), chunk(1), chunk(0, "stop")).complete
    assert state(chunk(0), chunk(1), chunk(0, "stop"), chunk(1, "length")).complete


def test_a_choice_that_goes_on_after_its_finish_is_open_again():
    assert not state(chunk(0, "stop"), chunk(0)).complete


def test_an_error_is_a_failure():
    assert state(Event.of(b'{"error":{"message":"x"}}')).failed


def test_data_that_is_not_json_is_reported():
    assert not Completeness().see(Event.of(b"{oops"))
    assert Completeness().see(Event(b": comment\n\n", None))
