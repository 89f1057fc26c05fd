import pytest

from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError
from crplugins.core.sse import Event, EventTooLarge, Splitter, done_event


def split(*pieces: bytes, limit: int = 1000) -> list[Event]:
    splitter = Splitter(limit)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    rest = splitter.finish()
    return events if rest is None else [*events, rest]


def seen(*pieces: bytes) -> list[tuple[bytes, bytes | None]]:
    return [(event.raw, event.data) for event in split(*pieces)]


def test_events_keep_their_bytes_and_blank_line() -> None:
    assert seen(b"data: a\n\ndata:b\n\n") == [(b"data: a\n\n", b"a"), (b"data:b\n\n", b"b")]


def test_an_event_arrives_with_its_last_byte() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\n") == []
    assert splitter.rest == b"data: a\n"
    assert [event.raw for event in splitter.feed(b"\ndata: b")] == [b"data: a\n\n"]
    assert splitter.rest == b"data: b"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_kind_of_line_end_ends_lines_and_events(end: bytes) -> None:
    stream = end.join([b"event: x", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    events = split(stream)
    assert [event.data for event in events] == [b"a\nb", b"c"]
    assert events[0].name == b"x"
    assert b"".join(event.raw for event in events) == stream


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\rd", b"\r\n\rd"])
def test_mixed_line_ends_make_a_blank_line_too(blank: bytes) -> None:
    events = split(b"data: a" + blank + b"ata: b\n\n" if blank.endswith(b"d") else b"data: a" + blank + b"data: b\n\n")
    assert [event.data for event in events] == [b"a", b"b"]


@pytest.mark.parametrize("before", [b"", b"data: a\n\n"])
def test_a_bare_cr_ends_a_line_between_bare_lfs(before: bytes) -> None:
    assert split(before + b"data: b\rdata: c\n\n")[-1].data == b"b\nc"


def test_half_of_a_crlf_waits_for_its_other_half() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\r\n\r") == []
    assert [event.raw for event in splitter.feed(b"\n")] == [b"data: a\r\n\r\n"]


def test_a_lone_line_end_is_no_blank_line() -> None:
    assert [event.data for event in split(b"data: a\r\ndata: b\rdata: c\ndata: d\n\n")] == [b"a\nb\nc\nd"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_what_python_takes_for_a_line_end_is_data(mark: str) -> None:
    data = f"a{mark}{mark}b".encode()
    assert [event.data for event in split(b"data: " + data + b"\n\n")] == [data]


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data: \n\n", b""),
        (b"data:  two\n\n", b" two"),
        (b"data: a: b\n\n", b"a: b"),
        (b": comment\n\n", None),
        (b":\n\n", None),
        (b"id: 1\nretry: 5\n\n", None),
        (b"datax: a\n\n", None),
        (b" data: a\n\n", None),
        (b"Data: a\n\n", None),
        (b"\n\n", None),
        (b": c\ndata: a\nid: 1\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
    ],
)
def test_fields_are_read_as_the_standard_says(raw: bytes, data: bytes | None) -> None:
    assert seen(raw) == [(raw, data)]


def test_a_byte_order_mark_counts_only_at_the_start_of_the_stream() -> None:
    events = split(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n")
    assert [event.data for event in events] == [b"a", None]


def test_of_several_names_the_last_counts() -> None:
    assert split(b"event: a\nevent: b\ndata: 1\n\n")[0].name == b"b"


def test_the_end_of_the_stream_gives_the_rest() -> None:
    assert seen(b"data: a\n\ndata: b") == [(b"data: a\n\n", b"a"), (b"data: b", b"b")]
    assert seen(b"") == []


def test_one_piece_may_hold_many_events_and_one_event_many_pieces() -> None:
    stream = b"data: a\n\n: c\r\n\r\ndata: b\n\n"
    assert seen(stream) == seen(*(stream[i : i + 1] for i in range(len(stream))))


def test_an_event_past_the_limit_is_refused_however_it_comes() -> None:
    for pieces in ([b"x" * 101], [b"x"] * 101):
        with pytest.raises(EventTooLarge):
            split(*pieces, limit=100)
    assert len(split(b"x" * 98 + b"\n\n" + b"y" * 98 + b"\n\n", limit=100)) == 2


def test_a_comment_is_an_event_without_fields() -> None:
    assert split(b": keep-alive\n\n")[0].is_comment
    assert split(b"\n\n")[0].is_comment
    assert not split(b"id: 1\n\n")[0].is_comment
    assert not split(b"data:\n\n")[0].is_comment


def test_done_is_recognised_by_its_data() -> None:
    assert done_event().is_done
    assert split(b"data:[DONE]\r\n\r\n")[0].is_done
    assert not Event.of(b"{}").is_done


def test_another_payload_keeps_the_name() -> None:
    event = split(b"event: x\nid: 1\ndata: a\n\n")[0].with_data(b"b")
    assert (event.raw, event.data, event.name) == (b"event: x\ndata: b\n\n", b"b", b"x")
    assert Event.of(b"a").with_data(b"b").raw == b"data: b\n\n"


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"a\r\nb", b"a\n\nb", b"\n"])
def test_a_payload_of_several_lines_stays_one_event(data: bytes) -> None:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for event in (Event.of(data), Event.of(b"x").with_data(data)):
        assert [again.data for again in split(event.raw)] == [lines]


def test_a_document_is_one_event_without_framing() -> None:
    event = Event.json_document(b'{"a": 1}').with_data(b'{"a": 2}')
    assert (event.raw, event.data, event.document) == (b'{"a": 2}', b'{"a": 2}', True)


def test_facts_are_decoded_once() -> None:
    event = Event.of(b'{"usage": {"prompt_tokens": 3}}')
    assert event.answer is event.answer
    assert event.answer.usage.prompt_tokens == 3


@pytest.mark.parametrize("data", [b"[DONE]", b"", b"{", b"\xff", b'{"a": ' * 100_000])
def test_what_is_no_json_has_no_facts(data: bytes) -> None:
    assert Event.of(data).answer is None


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] ", b'"[DONE]"', b"[DONE]\t", b"'[DONE]'", b"[DONE]\x00"])
def test_an_end_mark_with_blanks_or_quotes_is_one(data: bytes) -> None:
    assert Event.of(data).is_done


@pytest.mark.parametrize(
    "data", [b"{}", b'{"type": "ping"}', b'{"id": "c", "choices": null}', b"null", b"7", b"[]", b'"x"']
)
def test_data_that_is_no_part_of_an_answer_is_a_heartbeat(data: bytes) -> None:
    assert Event.of(data).is_heartbeat


@pytest.mark.parametrize(
    "raw", [b"event: ping\n\n", b"retry: 3\n\n", b"id: 7\n\n", b"data:\n\n", b"event: ping\ndata:\n\n"]
)
def test_an_event_without_data_is_a_heartbeat(raw: bytes) -> None:
    (event,) = Splitter().feed(raw)
    assert event.is_heartbeat


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": []}',
        b'{"usage": {"prompt_tokens": 3}}',
        b'{"error": "x"}',
        b'[{"error": {"code": 400}}]',
        b"[DONE]",
        b"{",
    ],
)
def test_whatever_an_answer_is_made_of_is_no_heartbeat(data: bytes) -> None:
    assert not Event.of(data).is_heartbeat


def test_a_comment_is_no_heartbeat() -> None:
    (comment,) = Splitter().feed(b": waiting\n\n")
    assert not comment.is_heartbeat


def test_an_error_becomes_an_event() -> None:
    error = GatewayError(502, "Gone.")
    assert CHAT.error_event(error, "any").raw == error.frame()
