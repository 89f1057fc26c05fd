"""The keys of a source as `crplugins keys lint` sees them: read one by one, so that all that is wrong is found."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crplugins.cli.keys_findings import Finding, Listed
from crplugins.keys.entry import EntryReader
from crplugins.keys.file.document import KeyFileError, read_document
from crplugins.keys.key import Key
from crplugins.keys.opening import open_store
from crplugins.keys.secrets import Digester
from crplugins.keys.store import KeyStore
from crplugins.keys.words import KeyPath, WordProblem, spell_path
from crplugins.settings.environment import Expansion


@dataclass(slots=True)
class Entries:
    """Keys with their places, and what was wrong with the entries that are none."""

    listed: list[Listed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add_source(self, source: str | Mapping[str, Any], pepper: str | None) -> None:
        """Of a keys file or a database. Raises `KeyFileError`, `WordsRefused`, `SourceUnavailable`."""
        store = open_store(source, pepper=pepper)
        file = source if isinstance(source, str) else source.get("file")
        if file is None or "://" in file:
            self.listed += [Listed("", key) for key in asyncio.run(_keys_of(store))]
            return
        document = read_document(_text_of(Path(file)), Path(file).name)
        self.add_list(document.entries, ("keys",), document.name, document.lines, store.digester)

    def add_list(
        self,
        entries: Sequence[Any],
        path: KeyPath,
        file: str,
        lines: Mapping[KeyPath, int],
        digester: Digester | None = None,
    ) -> None:
        """Of a list as it stands in `file` at `path`, nothing in it expanded."""
        for index, entry in enumerate(entries):
            self._add_entry(entry, _place(file, lines.get((*path, index))), digester or Digester())

    def _add_entry(self, entry: Any, place: str, digester: Digester) -> None:
        expansion, reader = Expansion(os.environ), EntryReader(digester, strict=False)
        expanded = expansion.expand(entry)
        key = reader.key(expanded, ())
        problems = [*(WordProblem(p.path, p.message) for p in expansion.problems), *reader.problems]
        self.findings += [Finding("entry", key.id, place, _sentence(problem)) for problem in problems]
        if not problems:
            secrets = tuple(_secrets_of(entry))
            plain = sum(not _is_reference(secret) for secret in secrets)
            self.listed.append(Listed(place, key, tuple(_secrets_of(expanded)), plain))


def _secrets_of(entry: Mapping[str, Any]) -> Iterator[str]:
    for words in (entry, *(entry.get("secrets") or ())):
        if words.get("secret"):
            yield words["secret"]


def _is_reference(secret: str) -> bool:
    """Whether the secret comes from the environment: expanding it with nothing in there fails."""
    expansion = Expansion({})
    expansion.expand(secret)
    return bool(expansion.problems)


def _sentence(problem: WordProblem) -> str:
    return ": ".join(part for part in (spell_path(problem.path), problem.message) if part)


def _place(file: str, line: int | None) -> str:
    return f"{file}, line {line}" if line else file


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise KeyFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: is not UTF-8 text") from None


async def _keys_of(store: KeyStore) -> Sequence[Key]:
    async with store:
        return await store.list()
