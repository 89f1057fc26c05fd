"""What a `content-encoding` says, and bodies in the form that their servers write piece by piece."""

import gzip
import zlib

import pytest

from crplugins.handlers.http.encoding import Decoder, encoding_in

EVENTS = [b"data: %d\n\n" % number for number in range(40)]
MEMBERS = [gzip.compress(event) for event in EVENTS]


def unpacked(body: bytes, size: int, encoding: str = "gzip") -> bytes:
    """What is read of a body that comes in pieces of this size, as a response reads it."""
    decoder, whole = Decoder(encoding), b""
    for start in range(0, len(body), size):
        whole += decoder.decode(body[start : start + size])
        while decoder.has_more:
            whole += decoder.decode(b"")
    return whole


@pytest.mark.parametrize("size", [1, 7, 33, 10_000])
def test_a_gzip_in_members_is_read_to_its_end(size: int) -> None:
    assert unpacked(b"".join(MEMBERS), size) == b"".join(EVENTS)


def test_a_member_that_is_empty_ends_nothing() -> None:
    body = MEMBERS[0] + gzip.compress(b"") * 3 + MEMBERS[1]
    decoder = Decoder("gzip")
    assert decoder.decode(body) == EVENTS[0]
    assert decoder.decode(b"") == EVENTS[1]
    assert not decoder.has_more


@pytest.mark.parametrize("text", [b"", b"a"], ids=["empty", "tiny"])
def test_what_zlib_is_given_of_many_members_grows_with_the_body_alone(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    """It copies what is after the end of each."""
    given: list[int] = []

    class Counted:
        def __init__(self, wbits: int) -> None:
            self._inflater = inflater(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            given.append(len(data))
            return self._inflater.decompress(data, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

    inflater = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counted)
    member = gzip.compress(text)
    assert unpacked(member * 10_000, 10_000 * len(member)) == text * 10_000
    assert max(given) <= 4096
    assert len(given) <= 10_100


def test_each_event_is_given_out_when_its_member_has_come() -> None:
    decoder = Decoder("gzip")
    assert [decoder.decode(member) for member in MEMBERS] == EVENTS


@pytest.mark.parametrize("behind", [bytes(9), b"\r\n", b"nonsense", bytes(3) + MEMBERS[1]])
def test_what_is_behind_a_member_and_is_none_is_not_read(behind: bytes) -> None:
    told = EVENTS[0] + (EVENTS[1] if behind.endswith(MEMBERS[1]) else b"")
    assert unpacked(MEMBERS[0] + behind, 10_000) == unpacked(MEMBERS[0] + behind, 1) == told


def test_what_is_behind_a_deflated_body_is_not_read() -> None:
    assert unpacked(zlib.compress(b"a") + MEMBERS[0], 10_000, "deflate") == b"a"


@pytest.mark.parametrize(
    ("said", "encoding"),
    [
        ("gzip", "gzip"), (" X-GZIP", "x-gzip"), ("gzip, identity", "gzip"), ("identity,Deflate", "deflate"),
        ("identity", None), ("", None), ("utf-8", None), ("br", None), ("gzip, gzip", None), ("gzip, br", None),
    ],
)  # fmt: skip
def test_an_encoding_is_one_that_is_read(said: str, encoding: str | None) -> None:
    assert encoding_in(said) == encoding
