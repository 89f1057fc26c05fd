import pytest

from crplugins.core.sse import Event
from crplugins.plugins.aliases.rename import Renaming, reframed

HEAD = b'{"id":"c1","object":"chat.completion.chunk","created":1,"model":'


def renamed(data: bytes, requested: str = "fast") -> bytes:
    return Renaming(requested, ["real"]).document(data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"real"}', b'{"model":"fast"}'),
        (b'{ "model" :\t"real" , "n":1.50}\n', b'{ "model" :\t"fast" , "n":1.50}\n'),
        (
            b'{"seed":123456789012345678901234567890,"model":"real"}',
            b'{"seed":123456789012345678901234567890,"model":"fast"}',
        ),
        (rb'{"model":"r\u0065al","c":"\u00e9"}', rb'{"model":"fast","c":"\u00e9"}'),
        (rb'{"m\u006fdel":"real","c":"\u00e9"}', rb'{"m\u006fdel":"fast","c":"\u00e9"}'),
        (b'{"model":""}', b'{"model":"fast"}'),
        (
            b'{"choices":[{"message":{"model":"real"}}],"model":"real"}',
            b'{"choices":[{"message":{"model":"real"}}],"model":"fast"}',
        ),
        (
            b'{"model":"real","metadata":{"model":"m"},"x":"model"}',
            b'{"model":"fast","metadata":{"model":"m"},"x":"model"}',
        ),
        (
            rb'{"content":"\"model\":\"real\" \"model","model":"real"}',
            rb'{"content":"\"model\":\"real\" \"model","model":"fast"}',
        ),
        (rb'{"content":"say \"model","model":"real"}', rb'{"content":"say \"model","model":"fast"}'),
    ],
)
def test_only_the_value_of_the_top_level_model_changes(before, after):
    assert renamed(before) == after


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":null}', b'{"model":{"model":"real"}}', b'{"choices":[{"model":"real"}]}', b'{"a":"model"}', b"[]", b'"model"',
        b"[DONE]", b"", b'{"model":"re', b"\xff", b'{"model":"fast"}', b"[" * 5000,
    ],
)  # fmt: skip
def test_a_document_without_such_a_name_is_the_same_object(data):
    assert renamed(data) is data


def test_a_key_that_stands_twice_is_renamed_wherever_it_stands():
    assert renamed(b'{"model":"real","a":1,"model":"real"}') == b'{"model":"fast","a":1}'
    assert renamed(b'{"model":"real","a":1,"model":"fast"}') == b'{"model":"fast","a":1,"model":"fast"}'
    assert renamed(b'{"model":"fast","a":1,"model":"real"}') == b'{"model":"fast","a":1}'
    assert renamed(rb'{"model":"real","a":1,"\u006dodel":"real"}') == b'{"model":"fast","a":1}'


def test_chunks_that_begin_alike_are_renamed_alike_and_others_are_read_again():
    renaming = Renaming("fast", [])
    for tail in (
        b'"choices":[]}',
        rb'"choices":[{"delta":{"content":"\u006dodel \u00e9"}}]}',
        b'"metadata":{"model":"real"}}',
    ):
        assert renaming.document(HEAD + b'"real",' + tail) == HEAD + b'"fast",' + tail
    assert renaming.document(HEAD + b'"real","model":"real"}') == HEAD + b'"fast"}'
    assert renaming.document(HEAD + b'"realer"}') == HEAD + b'"fast"}'
    assert renaming.document(b'{"choices":[],"model":"real"}') == b'{"choices":[],"model":"fast"}'


def test_chunks_that_have_the_name_already_are_the_same_objects_until_one_has_another():
    renaming = Renaming("asked", [])
    chunks = [b'{"id":"1","model":"asked","n":%d}' % number for number in range(3)]
    assert all(renaming.document(chunk) is chunk for chunk in chunks)
    assert renaming.document(b'{"id":"1","model":"asked","model":"other"}') == b'{"id":"1","model":"asked"}'
    assert renaming.document(b'{"id":"1","model":"other"}') == b'{"id":"1","model":"asked"}'


def test_a_document_cut_short_is_renamed_as_far_as_it_is_clear():
    assert renamed(b'{"model":"real"') == b'{"model":"fast"'
    assert renamed(b'{"id":1,"model":"real","cho') == b'{"id":1,"model":"fast","cho'
    assert renamed(b'{"choices":[{"model":"real"') == b'{"choices":[{"model":"real"'
    renaming = Renaming("fast", [])
    renaming.document(HEAD + b'"real","choices":[]}')
    assert renaming.document(HEAD + b'"real","m":{"model"') == HEAD + b'"fast","m":{"model"'


def test_a_name_of_any_characters_is_encoded():
    assert renamed(b'{"model":"real"}', 'a"b\\é\n') == '{"model":"a\\"b\\\\é\\n"}'.encode()


@pytest.mark.parametrize(
    ("raw", "data", "expected"),
    [
        (b"data: OLD\n\n", b"OLD", b"data: NEW\n\n"),
        (b"data: OLD\r\r", b"OLD", b"data: NEW\r\r"),
        (b"data:OLD\r\n\n", b"OLD", b"data:NEW\r\n\n"),
        (b"data:OLD\r\n\r\n", b"OLD", b"data:NEW\r\n\r\n"),
        (b": hi\nid: 7\nevent: x\ndata: OLD\nretry: 5\n\n", b"OLD", b": hi\nid: 7\nevent: x\ndata: NEW\nretry: 5\n\n"),
        (b"\xef\xbb\xbfdata: OLD\n\n", b"OLD", b"\xef\xbb\xbfdata: NEW\n\n"),
    ],
)
def test_framing_and_comments_stay(raw, data, expected):
    event = reframed(Event(raw, data, b"x"), b"NEW")
    assert (event.raw, event.data, event.name) == (expected, b"NEW", b"x")


def test_data_in_several_lines_is_framed_anew():
    event = reframed(Event(b'data: {"model":\ndata: "real"}\n\n', b'{"model":\n"real"}'), b'{"model":\n"fast"}')
    assert event.raw == b'data: {"model":\ndata: "fast"}\n\n'


def test_an_error_hides_the_names_of_the_chain_and_those_the_answer_gave():
    renaming = Renaming("fast", ["mini-1", "fast"])
    renaming.event(Event.of(b'{"model":"mini-2024"}'))
    error = Event.of(b'{"error":{"message":"mini-2024 (mini-1) is down"},"x":"mini-1"}')
    assert renaming.errors(error, whole=False).data == b'{"error":{"message":"fast (fast) is down"},"x":"mini-1"}'
    assert renaming.errors(error, whole=True).data == b'{"error":{"message":"fast (fast) is down"},"x":"fast"}'
    other = Event.of(b'{"error":"too long"}')
    assert renaming.errors(other, whole=False) is other


@pytest.mark.parametrize("data", [b"[]", b"oops", b'{"message":"mini"}'])
def test_an_event_without_an_error_stays(data):
    event = Event.of(data)
    assert Renaming("fast", ["mini"]).errors(event, whole=False) is event
