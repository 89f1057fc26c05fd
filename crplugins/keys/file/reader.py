"""KeyReader: reads a keys file again and again, and of it only the entries that are new."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from crplugins.core.without_collector import without_collector
from crplugins.keys.entry import read_keys
from crplugins.keys.file.entry import FileEntry
from crplugins.keys.file.file import BOM, KeyFile, Stamp
from crplugins.keys.key import Key, repeated
from crplugins.settings.document import read_document
from crplugins.settings.errors import ConfigError

FileEntry.prepare()

_SLICE: Final = 32
"""Entries that are read at once. libyaml holds the interpreter while it works: so short, no request waits for it."""

_BEGIN: Final = re.compile(r"(?:[ ]*(?:#[^\n]*)?\n)*keys:[ ]*\n(?:[ ]*(?:#[^\n]*)?\n)*?(?=( *)- )")


class KeyReader:
    """The keys of a file. An entry whose text stands there as it did before is the same `Key`, and is not read anew.

    That is so for JSON, and for YAML in block style, as the `keys` commands and nearly everybody write it. Any other
    file, and one with anything wrong in it, is read as a whole, which says what is wrong and where.

    Args:
        pause: called between two slices of the work, so that other threads get their turn.
    """

    def __init__(self, file: KeyFile, pause: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._pause = pause
        self._known: dict[bytes, Key] = {}
        """By the digest of an entry's text. Not those that name variables of the environment."""
        self._former: dict[bytes, Key] = {}

    def read(self) -> tuple[tuple[Key, ...], Stamp]:
        """Raises `KeyFileError`."""
        text, stamp = self._file.text()
        self._former = self._known
        with without_collector():
            keys, self._known = self._in_slices(text) or (self._file.parse(text).keys, {})
        return keys, stamp

    def release(self) -> None:
        """Let go of the keys that were read before, now that nobody else has them: one by one, because as many at once
        are one long step."""
        while self._former:
            self._former.popitem()

    def _in_slices(self, text: str) -> tuple[tuple[Key, ...], dict[bytes, Key]] | None:
        """The keys and what to remember of them; None for a file that has to be read as a whole."""
        known: dict[bytes, Key] = {}
        keys: list[Key] = []
        try:
            text = text.removeprefix(BOM)
            entries, read_slice = _of_json(text) if self._file.is_json else _of_yaml(text)
            while some := [*islice(entries, _SLICE)]:
                digests = [blake2b(entry.encode(), digest_size=16).digest() for entry in some]
                new = [entry for entry, digest in zip(some, digests, strict=True) if digest not in self._known]
                read = iter(self._read(read_slice(new)) if new else ())
                for entry, digest in zip(some, digests, strict=True):
                    key = self._known.get(digest) or next(read)
                    keys.append(key)
                    if "${" not in entry and "os.environ/" not in entry:
                        known[digest] = key
        except (ConfigError, _NotInSlices):
            return None
        if next(repeated(keys), None) is not None:
            return None
        return tuple(keys), known

    def _read(self, listed: list[Any]) -> Iterable[Key]:
        self._pause()
        return read_keys(listed, self._file.reading, section=FileEntry)


class _NotInSlices(Exception):
    """The file is written in another way, or there is something wrong with it."""


_Slices = tuple[Iterator[str], Callable[[list[str]], list[Any]]]
"""The text of each entry, and what makes entries of some of them. Both raise `_NotInSlices`."""


class _Json(msgspec.Struct):
    keys: list[msgspec.Raw]


def _of_json(text: str) -> _Slices:
    try:
        listed = msgspec.json.decode(text, type=_Json).keys
    except (msgspec.DecodeError, RecursionError):
        raise _NotInSlices from None
    return (bytes(entry).decode() for entry in listed), lambda entries: [_loaded(entry) for entry in entries]


def _loaded(entry: str) -> Any:
    try:
        return json.loads(entry)
    except (json.JSONDecodeError, RecursionError):
        raise _NotInSlices from None


def _of_yaml(text: str) -> _Slices:
    """A list under `keys:` that is all that the file holds, in block style."""
    begin = _BEGIN.match(text)
    if begin is None:
        raise _NotInSlices
    dash = f"{begin[1]}- "
    alone = re.compile(rf"[^\n]*\n(?:(?:{begin[1]} [^\n]*|[ ]*#[^\n]*|[ ]*)\n)*")

    def read(entries: list[str]) -> list[Any]:
        if not all(map(alone.fullmatch, entries)):
            raise _NotInSlices
        document = read_document("keys:\n" + "".join(entries), "")
        listed = document.data.get("keys")
        if document.problems or len(document.data) > 1 or not isinstance(listed, list) or len(listed) != len(entries):
            raise _NotInSlices
        return listed

    return _entries(text, dash, begin.end()), read


def _entries(text: str, dash: str, start: int) -> Iterator[str]:
    """The text of each entry, from a dash in that column to the next.

    Where all other lines stand further to the right, are blank or comments, libyaml makes of one entry alone what it
    makes of it in the file; or an error, where an anchor is in another one, or such a dash in a quoted text.
    """
    while start < len(text):
        end = text.find(f"\n{dash}", start) + 1 or len(text)
        yield text[start:end] if text[end - 1] == "\n" else text[start:end] + "\n"
        start = end
