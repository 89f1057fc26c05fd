"""Strategies for byte streams and the ways they may be cut, and the standard's algorithm as an oracle."""

from hypothesis import strategies as st

HOSTILE = st.binary(max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.sampled_from(
    [
        b"", b" ", b"a", b"[DONE]", b'{"choices": []}', b'{"usage": {"prompt_tokens": 1}}', b"\xff\xfe", b"\x00",
        b"\xef\xbb\xbf", b": ", b"data: b", "\u2028\u2029\x85\x0b\x0c".encode(), b"x" * 40,
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"data:  ",
        b"event: ",
        b"event:",
        b":",
        b": ",
        b"id: ",
        b"retry: ",
        b"",
        b" data: ",
        b"dat",
    ]
)
LINES = st.builds(lambda field, text: field + text, FIELDS, TEXTS)
PARTS = st.one_of(LINES, ENDS, ENDS, ENDS, HOSTILE, st.just(b"\n\n"), st.just(b"data: x\n\n"))


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A byte stream that looks like server-sent events, well formed or not."""
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return mark + b"".join(draw(st.lists(PARTS, max_size=25)))


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in pieces of any size, empty ones included."""
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams())
    return stream, draw(cut(stream))


def dispatched(stream: bytes) -> list[tuple[bytes, bytes]]:
    """(type, data) of each event of a whole stream, byte by byte as WHATWG HTML 9.2.6 tells a client to do it."""
    events: list[tuple[bytes, bytes]] = []
    kind, data = b"", b""
    for line in lines(stream.removeprefix(b"\xef\xbb\xbf")):
        if line == b"":
            if data:
                events.append((kind, data[:-1]))
            kind, data = b"", b""
            continue
        name, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if name == b"event":
            kind = value
        elif name == b"data":
            data += value + b"\n"
    return events


def lines(stream: bytes) -> list[bytes]:
    """The lines that have ended."""
    found, line, at = [], b"", 0
    while at < len(stream):
        byte = stream[at : at + 1]
        if byte in (b"\r", b"\n"):
            at += stream[at : at + 2] == b"\r\n"
            found.append(line)
            line = b""
        else:
            line += byte
        at += 1
    return found
