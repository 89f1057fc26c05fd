import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.answer_forms import readable_chunk
from crplugins.core.sse import Event, Splitter, done_event
from crplugins.testing import drive
from tests.core.doubles import ASK, App, Rewriter, Watcher
from tests.properties.streams import cut, cut_streams, dispatched, streams


def split(pieces: list[bytes]) -> tuple[list[Event], bytes]:
    splitter = Splitter()
    return [event for piece in pieces for event in splitter.feed(piece)], splitter.rest


def shown(events: list[Event]) -> list[tuple[bytes, bytes, bytes | None]]:
    return [(event.raw, event.name, event.data) for event in events]


@given(cut_streams())
@example((b"data: a\n\r\ndata: b\r\n\r\n", [b"data: a\n\r", b"\ndata: b\r\n\r", b"\n"]))
@example((b"data: a\r\r\ndata: b\r\r", [b"data: a\r", b"\r", b"\ndata: b\r\r"]))
@example((b"\xef\xbb\xbfdata: a\n\n", [b"\xef", b"\xbb\xbfdata: a\n\n"]))
def test_any_split_gives_the_same_events_and_no_byte_is_lost(case: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = case
    events, rest = split(pieces)
    whole, whole_rest = split([stream])
    assert shown(events) == shown(whole)
    assert rest == whole_rest
    assert b"".join(event.raw for event in events) + rest == stream


@given(streams())
def test_the_events_are_those_of_the_standard(stream: bytes) -> None:
    splitter = Splitter()
    events = splitter.feed(stream)
    rest = splitter.finish()
    seen = [(event.name, event.data) for event in events if event.data is not None]
    expected = dispatched(stream)
    if rest is not None and rest.raw.endswith(b"\r"):  # a blank line whose LF might have followed
        seen += [(rest.name, rest.data)] * (rest.data is not None and len(expected) > len(seen))
    assert seen == expected


@given(cut_streams())
def test_an_event_is_given_as_soon_as_its_blank_line_cannot_grow(case: tuple[bytes, list[bytes]]) -> None:
    _, pieces = case
    splitter, fed, seen = Splitter(), b"", 0
    for piece in pieces:
        fed += piece
        seen += sum(event.data is not None for event in splitter.feed(piece))
        assert seen >= len(dispatched(fed[:-1] if fed.endswith(b"\r") else fed))


@given(st.binary(max_size=200), st.data())
def test_hostile_bytes_raise_nothing_and_stay_as_they_are(stream: bytes, data: st.DataObject) -> None:
    splitter = Splitter()
    events = [event for piece in data.draw(cut(stream)) for event in splitter.feed(piece)]
    if (rest := splitter.finish()) is not None:
        events.append(rest)
    assert b"".join(event.raw for event in events) == stream
    for event in events:
        assert event.answer is None or event.data
        assert event.is_comment in (True, False)


@given(st.binary(max_size=30), st.sampled_from([b"", b"name"]))
def test_a_payload_written_is_the_payload_read(data: bytes, name: bytes) -> None:
    (again,), rest = split([Event(b"", b"", name).with_data(data).raw])
    assert again.name == name
    assert again.data == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert rest == b""


def parts_of_an_answer(stream: bytes) -> bytes:
    """The stream without heartbeats and without what follows [DONE], each chunk readable to OpenAI's SDKs."""
    splitter = Splitter()
    events = splitter.feed(stream)
    if (rest := splitter.finish()) is not None:
        events.append(rest)
    kept = b""
    for event in events:
        if event.is_done:
            return kept + (event.raw if event.data == b"[DONE]" else done_event().raw)
        if not event.is_heartbeat:
            kept += readable_chunk(event).raw
    return kept


@given(cut_streams())
def test_identity_rewriters_pass_on_the_parts_of_an_answer_however_the_stream_is_split(
    case: tuple[bytes, list[bytes]],
) -> None:
    stream, pieces = case
    outer, inner = Watcher(), Rewriter()
    answer = asyncio.run(drive(PluginMiddleware(App(*pieces), plugins=[outer, inner]), body=ASK))
    assert answer.body == parts_of_an_answer(stream)
    assert answer.complete
    assert shown(outer.events) == shown(inner.events)
    assert b"".join(event.raw for event in inner.events) == answer.body


@given(cut_streams())
def test_observers_see_the_same_events_as_rewriters(case: tuple[bytes, list[bytes]]) -> None:
    _, pieces = case
    watcher, rewriter = Watcher(), Rewriter()
    for plugin in (watcher, rewriter):
        asyncio.run(drive(PluginMiddleware(App(*pieces), plugins=[plugin]), body=ASK))
    assert shown(watcher.events) == shown(rewriter.events)
