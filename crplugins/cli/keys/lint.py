"""`crplugins keys lint`: what is wrong with keys, or soon will be."""

import asyncio
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import typer

from crplugins.cli.keys.source import (
    JsonOption,
    PepperOption,
    SourceOption,
    clock_of,
    expect_file,
    pepper_of,
    read_config,
    sentences,
)
from crplugins.cli.options import ConfigOption
from crplugins.config import Config
from crplugins.core.patterns import Pattern
from crplugins.core.principal import Principal
from crplugins.keys.entry import Reading
from crplugins.keys.file.entry import FileEntry
from crplugins.keys.file.file import KeyFile
from crplugins.keys.key import Key
from crplugins.keys.opening import open_store
from crplugins.keys.secrets import PREFIX, Digester, has_valid_checksum
from crplugins.keys.state import format_moment, is_live, state_of
from crplugins.keys.store import KeyStore
from crplugins.plugins.aliases.access import view_for
from crplugins.plugins.aliases.explain import explain
from crplugins.plugins.aliases.table import AliasTable
from crplugins.settings.document import read_document
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import KeyPath, Problem, format_path
from crplugins.settings.reading import try_section

SHORTEST: Final = 24
"""Characters. Below it a secret of the usual alphabets has less than some 120 random bits."""

_FEWEST_KINDS: Final = 10


def weakness(secret: str) -> str | None:
    """What is wrong with a secret, without any part of it; None for a good one."""
    if has_valid_checksum(secret):
        return None
    if secret.startswith(PREFIX):
        return f"begins with {PREFIX} but has a wrong checksum, and is refused unseen"
    if len(secret) < SHORTEST:
        return f"has {len(secret)} characters, fewer than {SHORTEST}: it may be guessed"
    if len(set(secret)) < _FEWEST_KINDS:
        return f"is made of {len(set(secret))} different characters: it may be guessed"
    return None


SOON: Final = timedelta(days=30)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Check = Literal["entry", "duplicate", "plaintext", "weak", "ending", "no_live_secret", "models"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found wanting. `place` is file and line, empty for a database; `key_id` empty if it has none."""

    check: Check
    key_id: str
    place: str
    message: str

    def __str__(self) -> str:
        key = f"key '{self.key_id}'" if self.key_id else ""
        return ": ".join(part for part in (self.place, key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Listed:
    """A key where it stands.

    Attributes:
        readable: its secrets that are known as text, also from the environment.
        plain: how many of them stand in the file itself.
    """

    place: str
    key: Key
    readable: tuple[str, ...] = field(default=(), repr=False)
    plain: int = 0

    def finding(self, check: Check, message: str) -> Finding:
        return Finding(check, self.key.id, self.place, message)


@dataclass(frozen=True, slots=True)
class Names:
    """What a configuration serves and under which names."""

    served: tuple[str, ...]
    table: AliasTable

    @classmethod
    def of(cls, config: Config) -> Self:
        served = tuple(entry.model_name for entry in config.model_list)
        return cls(served, AliasTable.parse(config.aliases, config.team_aliases))

    def serve(self, principal: Principal, name: str) -> bool:
        """Whether `name`, of the key's `models` or aliases, leads to a model that is served."""
        if "*" not in name:
            free = msgspec.structs.replace(principal, models=None)
            return explain(free, name, self.table, served=self.served)[-1].ok
        known = [*map(Pattern.of, self.served), *(entry.pattern for entry in view_for(principal, self.table))]
        return any(pattern.meets(Pattern.of(name)) for pattern in known)


def findings(listed: Sequence[Listed], now: datetime, names: Names | None) -> Iterator[Finding]:
    """What stands twice, then key by key. Without `names` it is not known what is served, and not looked at."""
    yield from _repeated(listed)
    for each in listed:
        yield from _secrets(each)
        yield from _life(each, now)
        if names is not None:
            yield from _models(each, names)


def _repeated(listed: Sequence[Listed]) -> Iterator[Finding]:
    ids: dict[str, Listed] = {}
    digests: dict[bytes, Listed] = {}
    for each in listed:
        if (first := ids.setdefault(each.key.id, each)) is not each:
            yield each.finding("duplicate", f"it has the id of the key in {first.place or 'the database'}")
        owners = [digests.setdefault(secret.digest, each) for secret in each.key.secrets]
        for first in owners:
            if first is not each:
                yield each.finding("duplicate", f"it has a secret of the key in {first.place or 'the database'}")


def _secrets(listed: Listed) -> Iterator[Finding]:
    if listed.plain:
        yield listed.finding("plaintext", "its secret stands in plain text; write a hash or ${NAME} in its place")
    for secret in listed.readable:
        if weak := weakness(secret):
            yield listed.finding("weak", f"its secret {weak}")


def _life(listed: Listed, now: datetime) -> Iterator[Finding]:
    key = listed.key
    state, end = state_of(key, now), _end_of(key, now)
    if state == "revoked":
        yield listed.finding("no_live_secret", "it has no live secret; disable it if that is meant")
    elif state == "expired":
        yield listed.finding("ending", f"it expired on {format_moment(key.expires)}")
    elif state != "disabled" and end <= now + SOON:
        yield listed.finding("ending", f"it ends on {format_moment(end)}, in {(end - now).days} days")


def _end_of(key: Key, now: datetime) -> datetime:
    """When the last secret of the key stops working."""
    secrets = [secret.not_after or _NEVER for secret in key.secrets if is_live(secret, now)]
    return min(key.expires or _NEVER, max(secrets, default=now))


def _models(listed: Listed, names: Names) -> Iterator[Finding]:
    principal = listed.key.principal
    own = [alias for alias in principal.aliases if "*" not in alias]
    for name in dict.fromkeys([*(principal.models or ()), *own]):
        if not names.serve(principal, name):
            yield listed.finding("models", f"it may call '{name}', which no deployment serves")


@dataclass(slots=True)
class Entries:
    """Keys with their places, and what was wrong with the entries that are none."""

    listed: list[Listed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add_source(self, source: str | Mapping[str, Any], pepper: str | None) -> None:
        """Of a keys file or a database. Raises `ConfigError`, `SourceUnavailable`."""
        store = open_store(source, pepper=pepper)
        file = source if isinstance(source, str) else source.get("file")
        if file is None or "://" in file:
            self.listed += [Listed("", key) for key in asyncio.run(_keys_of(store))]
            return
        document = KeyFile(file, store.digester).document()
        self.add_list(document.data["keys"], ("keys",), Path(file).name, document.source.lines, store.digester)

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
        expansion = Expansion(os.environ)
        expanded = expansion.expand(entry)
        made, wrong = try_section(FileEntry, expanded, (), Reading(digester))
        problems = [*expansion.problems, *wrong]
        self.findings += [Finding("entry", _id_of(entry), place, _sentence(problem)) for problem in problems]
        if made is not None and not problems:
            plain = sum(not _is_reference(secret) for secret in _secrets_of(entry))
            self.listed.append(Listed(place, made.key(digester), tuple(_secrets_of(expanded)), plain))


def _id_of(entry: Any) -> str:
    found = entry.get("id") if isinstance(entry, Mapping) else None
    return found if isinstance(found, str) else ""


def _secrets_of(entry: Mapping[str, Any]) -> Iterator[str]:
    for words in (entry, *(entry.get("secrets") or ())):
        if words.get("secret"):
            yield words["secret"]


def _is_reference(secret: str) -> bool:
    """Whether the secret comes from the environment: expanding it with nothing in there fails."""
    expansion = Expansion({})
    expansion.expand(secret)
    return bool(expansion.problems)


def _sentence(problem: Problem) -> str:
    return ": ".join(part for part in (format_path(problem.path), problem.message) if part)


def _place(file: str, line: int | None) -> str:
    return f"{file}, line {line}" if line else file


async def _keys_of(store: KeyStore) -> Sequence[Key]:
    async with store:
        return await store.list()


def lint(
    context: typer.Context,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with keys, or soon will be.

    That is: secrets in plain text or easily guessed, keys that end within 30 days or have no live secret, models
    no deployment serves, ids or secrets that stand twice. Exits with 1 if anything is found.

    Besides a file or a database it takes keys that stand in the configuration. What is served is known with a
    configuration; with --source it is read only if --config names it.
    """
    with sentences():
        entries, names = _gather(source, pepper_of(pepper_env), config_file)
    found = [*entries.findings, *findings(entries.listed, clock_of(context)(), names)]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        _print(found, len(entries.listed))
    if found:
        raise typer.Exit(1)


def _gather(source: str | None, pepper: str | None, config_file: Path | None) -> tuple[Entries, Names | None]:
    entries = Entries()
    names = None
    if source is None or config_file is not None:
        config, file = read_config(config_file)
        names = Names.of(config)
        if source is None:
            _add_configured(entries, config, file)
    if source is not None:
        expect_file(source)
        entries.add_source(source, pepper)
    return entries, names


def _add_configured(entries: Entries, config: Config, file: Path | None) -> None:
    """The keys of every source of a configuration but tokens, which are kept elsewhere."""
    if file is None:
        return
    document = read_document(file.read_text(encoding="utf-8"), str(file))
    for path, raw, spec in _parts(document.data.get("keys") or [], config.keys):
        if "file" in spec or "sql" in spec:
            expect_file(spec)
            entries.add_source(spec, None)
        elif "keys" in spec:
            entries.add_list(raw["keys"], path, str(file), document.source.lines)


def _parts(raw: Any, keys: Any) -> Iterator[tuple[KeyPath, Mapping[str, Any], Mapping[str, Any]]]:
    """Where the list of each source would stand, the source as it stands in the file, and as it was read."""
    if isinstance(keys, Mapping):
        yield ("keys", "keys"), raw, keys
    elif any("id" not in item for item in keys):
        for index, (item, spec) in enumerate(zip(raw, keys, strict=True)):
            yield ("keys", index, "keys"), item, spec
    else:
        yield ("keys",), {"keys": raw}, {"keys": keys}


def _print(found: Sequence[Finding], count: int) -> None:
    for finding in found:
        typer.echo(str(finding))
    if not found:
        typer.echo(f"{count} keys, nothing found wanting.")
