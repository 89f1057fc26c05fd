"""`include`: further files whose models and settings are read into the one that names them, as LiteLLM's proxy does.

Lists are joined, any other key of an included file takes the place of the same key. A file is named as seen from the
one that includes it, else from the first, and is read once, so that files which include one another are no cycle.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crplugins.settings.document import YamlDocument, read_document
from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source

INCLUDE: Final = "include"

MOST_FILES: Final = 100
MOST_CHARACTERS: Final = 20_000_000
"""Of all included files together. A configuration of ten thousand models has five million."""

ReadText = Callable[[Path], str]
"""The text of a file. Raises `ConfigError`."""


def with_included(document: YamlDocument, path: Path, read: ReadText) -> YamlDocument:
    """The document with the files it includes, and theirs, merged into it; itself if it includes none.

    A file that cannot be read is among the problems of the document, at `include`. Raises `ConfigError` for one that is
    no YAML, and for too many.
    """
    if INCLUDE not in document.data:
        return document
    merging = _Merging(document, _real(path), read)
    merging.run()
    return merging.document()


def _real(path: Path) -> Path:
    """Of a symlink to itself, which Path.resolve raises for, itself: it cannot be read, and that is said."""
    return Path(os.path.realpath(path))


class _Merging:
    def __init__(self, document: YamlDocument, path: Path, read: ReadText) -> None:
        self._root, self._read, self._document = path, read, document
        self._data = dict(document.data)
        self._lines: dict[KeyPath, int] = dict(document.source.lines)
        self._files: dict[KeyPath, str] = {}
        self._problems = list(document.problems)
        self._loaded = {path}
        self._characters = 0

    def run(self) -> None:
        waiting = [(entry, self._root, self._document.source) for entry in _entries(self._document)]
        while waiting:
            (index, name), by, source = waiting.pop(0)
            path = self._resolved(name, by)
            if path in self._loaded:
                continue
            self._loaded.add(path)
            document = self._opened(path, index, source)
            if document is not None:
                self._merge(document)
                waiting += [(entry, path, document.source) for entry in _entries(document)]

    def document(self) -> YamlDocument:
        source = Source(self._document.source.file, self._lines, self._files)
        return YamlDocument(self._data, source, self._problems, self._document.root)

    def _resolved(self, name: str, by: Path) -> Path:
        beside, from_root = _real(by.parent / name), _real(self._root.parent / name)
        return beside if beside.exists() or not from_root.exists() else from_root

    def _opened(self, path: Path, index: int, source: Source) -> YamlDocument | None:
        if len(self._loaded) > MOST_FILES:
            raise source.error([Problem((INCLUDE, index), f"more than {MOST_FILES} files are included")])
        try:
            text = self._read(path)
        except ConfigError as error:
            self._problems.append(Problem((INCLUDE,), f"{path.name}: {error.problems[0].message}"))
            return None
        self._characters += len(text)
        if self._characters > MOST_CHARACTERS:
            raise source.error([Problem((INCLUDE, index), "the included files are too long together")])
        return read_document(text, str(path))

    def _merge(self, document: YamlDocument) -> None:
        offsets: dict[str | int, int] = {}
        for key, value in document.data.items():
            before = self._data.get(key)
            if key == INCLUDE:
                continue
            if isinstance(before, list) and isinstance(value, list):
                self._data[key] = [*before, *value]
                offsets[key] = len(before)
            else:
                self._data[key] = value
                offsets[key] = 0
        self._place(document.source, offsets)
        file = document.source.file
        self._problems += [Problem(each.path, each.message, each.line, file) for each in document.problems]

    def _place(self, source: Source, offsets: dict[str | int, int]) -> None:
        """Notes where in its file everything stands; items of a list that goes on stand that much later."""
        replaced = {key for key, offset in offsets.items() if not offset}
        for lines in (self._lines, self._files):
            for path in [path for path in lines if path[0] in replaced]:
                del lines[path]
        for path, line in source.lines.items():
            key, offset = path[0], offsets.get(path[0], 0)
            if key in offsets and not (offset and len(path) == 1):
                below = (key, int(path[1]) + offset, *path[2:]) if offset else path
                self._lines[below] = line
                self._files[below] = source.file or ""


def _entries(document: YamlDocument) -> list[tuple[int, str]]:
    """The names of the files, each with its place in the list."""
    entries = document.data.get(INCLUDE, [])
    entries = [entries] if isinstance(entries, str) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise document.source.error([Problem((INCLUDE,), "must be a list of the names of files")])
    return list(enumerate(entries))
