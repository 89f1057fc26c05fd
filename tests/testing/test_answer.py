import pytest

from crplugins.testing import Answer
from crplugins.testing.answer import out_of_order

START = {"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"1"), (b"x-a", b"2")]}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def test_status_headers_and_body_are_read_from_the_messages() -> None:
    answer = Answer((START, body(b'{"a":', more=True), body(b"1}", more=True), body()))
    assert (answer.status, answer.body, answer.json(), answer.complete) == (200, b'{"a":1}', {"a": 1}, True)
    assert answer.header_list == [("x-a", "1"), ("x-a", "2")]
    assert answer.headers == {"x-a": "2"}
    assert answer.chunks == [b'{"a":', b"1}"]


def test_events_are_decoded_and_done_is_told_apart() -> None:
    stream = b': hi\n\ndata: {"n":1}\r\n\r\nevent: x\ndata:{"n":2}\n\n'
    assert Answer((START, body(stream + b"data: [DONE]\n\n"))).events() == [{"n": 1}, {"n": 2}]
    assert Answer((START, body(b"data: [DONE]\n\n"))).done
    assert not Answer((START, body(stream))).done


def test_an_answer_may_end_early_or_never_start() -> None:
    assert not Answer((START, body(b"x", more=True))).complete
    assert not Answer(()).complete
    with pytest.raises(LookupError):
        _ = Answer(()).status


def test_messages_out_of_order_are_named() -> None:
    assert out_of_order([], START) is None
    assert out_of_order([START], START) == "the app started a second response"
    assert out_of_order([], body()) == "the app sent a body before http.response.start"
    assert out_of_order([START, body()], body()) == "the app sent a body after its last one"
    assert out_of_order([START, body(more=True)], body()) is None
    assert out_of_order([], {"type": "http.response.debug"}) is None
