"""Decoder: the contents of a compressed body, a bounded piece at a time.

Requests ask for bodies that are not compressed. Some servers compress all the same, and clients have always read it.
Others name an encoding that is none (`utf-8`): such a body is read as it is. A gzip may come in members, one for each
piece that its server has written (RFC 1952, section 2.2).
"""

import zlib
from typing import Final, Protocol

from crplugins.handlers.http.interface import HttpError

_LARGEST_PIECE: Final = 256 * 1024
"""A megabyte of zeros is a kilobyte on the wire: no more than this is unpacked before somebody takes it."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class _Inflater(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...


_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
_WINDOW: Final = 4 * 1024
"""Bytes that zlib is given at a time."""

_MEMBER: Final = b"\x1f"
"""How a member of a gzip begins. After one may be zeros, and anything else is nobody's."""


def encoding_in(said: str) -> str | None:
    """What a `content-encoding` says the body is packed with; None for a body that is read as it is."""
    names = [name for each in said.split(",") if (name := each.strip().lower()) not in ("", "identity")]
    return names[0] if len(names) == 1 and names[0] in _ENCODINGS else None


class Decoder:
    """Unpacks what has an encoding that `encoding_in` knows."""

    __slots__ = ("_at", "_encoding", "_inflater", "_packed")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._inflater: _Inflater | None = None
        self._packed, self._at = b"", 0

    @property
    def has_more(self) -> bool:
        """Whether `decode(b"")` may give more of what has been fed."""
        return self._at < len(self._packed)

    def decode(self, data: bytes) -> bytes:
        """The next piece of the contents. Raises `HttpError` for bytes that are not so encoded."""
        if data:
            self._packed, self._at = (self._packed[self._at :] + data if self.has_more else data), 0
        piece = b""
        while self.has_more and not piece:
            # zlib copies what is after the end of a member: of many tiny ones that would be the whole rest each time.
            window = self._packed[self._at : self._at + _WINDOW]
            inflater = self._inflater
            if inflater is not None and inflater.eof:
                begun = window.lstrip(b"\0")
                self._at += len(window) - len(begun)
                if begun and (self._encoding == "deflate" or not begun.startswith(_MEMBER)):
                    self._at = len(self._packed)
                if not begun or not self.has_more:
                    continue
                inflater, window = None, begun
            if inflater is None:
                inflater = self._inflater = self._begin(window)
            try:
                piece = inflater.decompress(window, _LARGEST_PIECE)
            except zlib.error:
                raise HttpError("its body is not encoded as its headers say") from None
            self._at += len(window) - len(inflater.unused_data if inflater.eof else inflater.unconsumed_tail)
        return piece

    def _begin(self, packed: bytes) -> _Inflater:
        if self._encoding != "deflate":
            return zlib.decompressobj(_GZIP)
        is_zlib = packed[0] & 0x0F == 8  # else it lacks RFC 1950's header, as Microsoft's servers once sent it
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else _RAW_DEFLATE)
