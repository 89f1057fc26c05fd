"""`open_source` and `open_store`: what the configuration's `keys` and the command line's `--source` stand for.

What a source needs (sqlalchemy, pyjwt, yaml, pydantic) is imported when one is asked for.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from crplugins.keys.chain import Chain
from crplugins.keys.inline import InlineKeys
from crplugins.keys.secrets import Digester
from crplugins.keys.source import KeySource
from crplugins.keys.store import KeyStore
from crplugins.settings.errors import ConfigError, KeyPath, Problem

FORMS: Final = "a list of keys, or a source: {file: ...}, {sql: ...} or {jwt: {...}}"

_EXTRAS: Final = {"asyncpg": "postgres", "jwt": "jwt", "cryptography": "jwt"}

_Environ = Mapping[str, str]


def open_source(
    spec: Any,
    *,
    environ: _Environ = os.environ,
    path: KeyPath = ("keys",),
    opened: Sequence[tuple[Mapping[str, Any], KeySource]] = (),
) -> KeySource:
    """The source `spec` describes, not yet entered:

        [{id: team-a, secret: ...}, ...]                      keys
        {file: keys.yaml, pepper: ...}                        a YAML or JSON file
        {sql: "postgresql://...", pepper: ..., migrate: true, stale_seconds: 300, cached_keys: 50000}
        {jwt: {issuer: ..., audience: ..., jwks: ..., claims: {...}}}
        [{file: keys.yaml}, {keys: [...]}, {jwt: {...}}]      several sources, asked in this order

    A relative `file` or SQLite path is relative to the current folder. `environ` is for secrets in a keys file; `spec`
    itself is taken as it stands, at `path` of the configuration. `opened` are those of another configuration
    (`sources_of`), of which each is taken that is described in the same words.

    Raises `ConfigError`; `ImportError` naming the extra to install.
    """
    if isinstance(spec, Mapping):
        return _described(spec, environ, path, opened)
    if isinstance(spec, str) or not isinstance(spec, Sequence):
        raise ConfigError([Problem(path, f"must be {FORMS}")])
    if any(_kind(item) for item in spec):
        return Chain([_described(item, environ, (*path, index), opened) for index, item in enumerate(spec)])
    return InlineKeys(spec, path=path)


def parts_of(keys: Any) -> list[Mapping[str, Any]]:
    """The sources in the value of `keys`; a plain list of keys is the source `{keys: [...]}`."""
    if isinstance(keys, Mapping):
        return [keys]
    if any("id" not in item for item in keys):
        return list(keys)
    return [{"keys": keys}] if keys else []


def sources_of(keys: Any, source: KeySource) -> list[tuple[Mapping[str, Any], KeySource]]:
    """The parts of the value of `keys`, each with the source that was opened for it; `source` is the whole."""
    return list(zip(parts_of(keys), source.sources if isinstance(source, Chain) else [source], strict=False))


@contextmanager
def _extra_named() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "sql")
        raise ImportError(f"this source of keys needs: pip install 'crplugins[{extra}]'", name=error.name) from error


def open_store(
    source: str | Mapping[str, Any], *, pepper: str | None = None, environ: _Environ = os.environ
) -> KeyStore:
    """The store of `{file: ...}` or `{sql: ...}`, of the path of a keys file, or of the URL of a database.

    `pepper` is for the latter two. Raises `ConfigError` where keys cannot be changed (a list, `{jwt: ...}`).
    """
    if isinstance(source, str):
        source = {"sql" if "://" in source else "file": source, "pepper": pepper}
    with _extra_named():
        return _store(source, environ)


def _store(source: Mapping[str, Any], environ: _Environ) -> KeyStore:
    from crplugins.keys.sections import FileSource, SqlSource
    from crplugins.settings.reading import read_section

    kind = _kind(source)
    if kind == "file":
        from crplugins.keys.file import FileStore

        file = read_section(FileSource, source, ("keys",))
        return FileStore(file.file, digester=Digester(file.pepper), environ=environ, audit=file.audit)
    if kind == "sql":
        from crplugins.keys.sql import SqlStore

        sql = read_section(SqlSource, source, ("keys",))
        return SqlStore(sql.sql, digester=Digester(sql.pepper), migrate=sql.migrate)
    raise ConfigError([Problem(("keys",), "cannot be changed here; {file: ...} and {sql: ...} can")])


def _described(
    spec: Any, environ: _Environ, path: KeyPath, opened: Sequence[tuple[Mapping[str, Any], KeySource]]
) -> KeySource:
    kind = _kind(spec)
    if kind is None:
        raise ConfigError([Problem(path, f"must be {FORMS}")])
    kept = next((source for words, source in opened if words == spec), None)
    if kept is not None:
        return kept
    with _extra_named():
        return _OPENERS[kind](spec, environ, path)


def _kind(spec: Any) -> str | None:
    if not isinstance(spec, Mapping) or "id" in spec:
        return None
    return next((kind for kind in _OPENERS if kind in spec), None)


def _open_list(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.sections import ListSource
    from crplugins.settings.reading import read_section

    return InlineKeys(read_section(ListSource, spec, path).keys, path=(*path, "keys"))


def _open_file(spec: Mapping[str, Any], environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.file import FileKeys
    from crplugins.keys.sections import FileSource
    from crplugins.settings.reading import read_section

    file = read_section(FileSource, spec, path)
    return FileKeys(file.file, digester=Digester(file.pepper), environ=environ, audit=file.audit)


def _open_sql(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.sections import SqlSource
    from crplugins.keys.sql import SqlKeys
    from crplugins.settings.reading import read_section

    sql = read_section(SqlSource, spec, path)
    digester = Digester(sql.pepper)
    return SqlKeys(
        sql.sql,
        digester=digester,
        migrate=sql.migrate,
        stale_seconds=sql.stale_seconds,
        cached_keys=sql.cached_keys,
    )


def _open_jwt(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.jwt import JwtKeys, read_settings
    from crplugins.keys.sections import JwtSource
    from crplugins.settings.reading import read_section

    return JwtKeys(read_settings(read_section(JwtSource, spec, path).jwt, (*path, "jwt")))


_OPENERS: Final[Mapping[str, Callable[[Mapping[str, Any], _Environ, KeyPath], KeySource]]] = {
    "file": _open_file,
    "sql": _open_sql,
    "jwt": _open_jwt,
    "keys": _open_list,
}
