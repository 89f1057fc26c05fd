"""One connection of our own client, whatever its server says and however that arrives."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.handlers.http.connection import UpstreamConnection
from crplugins.handlers.http.interface import MAX_HEAD_BYTES, HttpError
from tests.handlers.http.raw_upstream import OK, chunked


class Transport(asyncio.Transport):
    """Says what it was asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = self.paused = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


class Kept:
    def __init__(self) -> None:
        self.idle: list[UpstreamConnection] = []
        self.gone: list[UpstreamConnection] = []

    def returned(self, connection: UpstreamConnection) -> None:
        self.idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self.gone.append(connection)


class Case:
    """A connection that has sent a request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.kept, self.transport = Kept(), Transport()
        self.connection = UpstreamConnection(loop, self.kept)
        self.connection.connection_made(self.transport)
        self.ask()

    def ask(self) -> None:
        self.connection.send(b"POST / HTTP/1.1\r\n\r\n", b"{}", float("inf"))

    def hear(self, *pieces: bytes) -> bytes:
        """What is taken of the body while the pieces come; as a transport does, none after an abort."""
        taken = b""
        for piece in pieces:
            if not self.transport.closing:
                self.connection.data_received(piece)
            taken += self.connection.take()
        return taken

    def end(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)


@pytest.fixture
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
FRAMED = {
    "length": lambda parts: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b"".join(parts)) + b"".join(parts),
    "chunks": chunked,
    "interim": lambda parts: b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + chunked(parts),
}


def in_pieces(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


@given(parts=BODIES, form=st.sampled_from(list(FRAMED)), places=st.lists(st.integers(0, 400)), cut=st.integers(0, 400))
def test_an_answer_is_whole_or_a_failure_wherever_it_is_split_or_cut(
    parts: list[bytes], form: str, places: list[int], cut: int
) -> None:
    loop = asyncio.new_event_loop()
    try:
        case = Case(loop)
        answer = FRAMED[form](parts)
        said = answer[:cut]
        heard = case.hear(*in_pieces(said, places))
        whole = b"".join(parts)
        assert whole.startswith(heard)
        if cut >= len(answer):
            assert (case.connection.state, heard) == ("ended", whole)
            case.connection.finish(0)
            assert case.kept.idle == [case.connection]
            case.ask()
            assert case.hear(OK) == b"ok"
        elif case.connection.state != "ended":  # a body without bytes ends at its head
            case.end()
            assert case.connection.state == "broken"
            assert isinstance(case.connection.failure, HttpError)
    finally:
        loop.close()


@given(st.lists(st.binary(max_size=60) | st.sampled_from([*OK.split(b"\r\n"), b"\r\n", b"\r\n\r\n", chunked([b"x"])])))
def test_no_bytes_break_anything_but_their_own_connection(pieces: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        case = Case(loop)
        case.hear(*pieces)
        case.connection.finish(0)
        case.end()
        assert case.connection.state in ("ended", "broken", "idle")
        assert case.transport.closing or case.kept.idle
        assert case.kept.gone == [case.connection]
    finally:
        loop.close()


def test_a_slow_reader_stops_the_socket_and_starts_it_again(loop) -> None:
    case = Case(loop)
    case.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    taken_in = 0
    while not case.transport.paused:
        case.connection.data_received(b"x" * 10_000)
        taken_in += 10_000
    assert taken_in < 100_000
    assert len(case.connection.take()) == taken_in
    assert not case.transport.paused


def test_a_connection_whose_reading_was_stopped_is_read_again_for_the_next_request(loop) -> None:
    case = Case(loop)
    case.connection.data_received(chunked([b"x" * 50_000] * 2)[:-5])
    assert case.transport.paused
    case.connection.finish(linger=1.0)
    assert not case.transport.paused
    case.connection.data_received(b"0\r\n\r\n")
    assert case.kept.idle == [case.connection]


def test_signs_of_life_before_an_answer_are_passed_over_and_bounded(loop) -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    case = Case(loop)
    assert case.hear(*[interim] * 1000, OK) == b"ok"
    case = Case(loop)
    case.hear(*[interim] * 10_000)
    assert case.connection.state == "broken"
    assert str(case.connection.failure) == "its heads, its trailers or the extension of a chunk are too long"


def test_a_switch_of_protocols_is_an_answer_and_the_connections_last(loop) -> None:
    case = Case(loop)
    case.hear(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")
    assert (case.connection.status, case.connection.take()) == (101, b"")
    case.connection.finish(0)
    assert case.transport.closing


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES * 9 // 10, MAX_HEAD_BYTES * 11 // 10])
def test_the_longest_head_is_the_same_in_one_piece_and_in_many(loop, size: int) -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(size // 1010))
    answer = b"HTTP/1.1 200 OK\r\n" + lines + b"Y: " + b"y" * (size - len(lines)) + b"\r\nContent-Length: 0\r\n\r\n"
    states = set()
    for step in (len(answer), 1000):
        case = Case(loop)
        case.hear(*(answer[start : start + step] for start in range(0, len(answer), step)))
        states.add(case.connection.state)
    assert states == {"ended" if size < MAX_HEAD_BYTES else "broken"}


def test_what_the_upstream_has_not_read_stands_in_the_way_of_the_next_request(loop) -> None:
    case = Case(loop)
    case.hear(OK)
    case.transport.unsent = 1
    case.connection.finish(0)
    assert not case.kept.idle
    assert case.transport.closing


def test_an_answer_that_goes_on_and_on_behind_its_last_word_is_not_kept_in_memory(loop) -> None:
    case = Case(loop)
    case.connection.data_received(chunked([b"x"])[:-5])
    case.connection.finish(linger=1.0)
    for _ in range(1000):
        case.connection.data_received(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    assert not case.connection.parts
    assert not case.transport.paused
