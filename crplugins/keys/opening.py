"""`open_source` and `open_store`: what the configuration's `keys` and the command line's `--source` stand for.

What a source needs (sqlalchemy, pyjwt, yaml) is imported when one is asked for.
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
from crplugins.keys.words import KeyPath, WordProblem, Words, WordsRefused

FORMS: Final = "a list of keys, or a source: {file: ...}, {sql: ...} or {jwt: {...}}"

_EXTRAS: Final = {"asyncpg": "postgres", "jwt": "jwt", "cryptography": "jwt"}

_Environ = Mapping[str, str]


def open_source(spec: Any, *, environ: _Environ = os.environ, path: KeyPath = ("keys",)) -> KeySource:
    """The source `spec` describes, not yet entered:

        [{id: team-a, secret: ...}, ...]                      keys
        {file: keys.yaml, pepper: ...}                        a YAML or JSON file
        {sql: "postgresql://...", pepper: ..., migrate: true, stale_seconds: 300}
        {jwt: {issuer: ..., audience: ..., jwks: ..., claims: {...}}}
        [{file: keys.yaml}, {keys: [...]}, {jwt: {...}}]      several sources, asked in this order

    A relative `file` or SQLite path is relative to the current folder. `environ` is for secrets in a keys file; `spec`
    itself is taken as it stands, at `path` of the configuration.

    Raises `WordsRefused`; `ImportError` naming the extra to install.
    """
    if isinstance(spec, Mapping):
        return _described(spec, environ, path)
    if isinstance(spec, str) or not isinstance(spec, Sequence):
        raise WordsRefused([WordProblem(path, f"must be {FORMS}")])
    if any(_kind(item) for item in spec):
        return Chain([_described(item, environ, (*path, index)) for index, item in enumerate(spec)])
    return InlineKeys(spec, path=path)


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

    `pepper` is for the latter two. Raises `WordsRefused` where keys cannot be changed (a list, `{jwt: ...}`).
    """
    if isinstance(source, str):
        source = {"sql" if "://" in source else "file": source, "pepper": pepper}
    with _extra_named():
        return _store(source, environ)


def _store(source: Mapping[str, Any], environ: _Environ) -> KeyStore:
    kind = _kind(source)
    words = _words(source, kind or "", ("keys",))
    if kind == "file":
        from crplugins.keys.file import FileStore

        return FileStore(words.required_text("file"), digester=_digester(words), environ=environ)
    if kind == "sql":
        from crplugins.keys.sql import SqlStore

        return SqlStore(
            words.required_text("sql"), digester=_digester(words), migrate=words.flag("migrate", default=True)
        )
    raise WordsRefused([WordProblem(("keys",), "cannot be changed here; {file: ...} and {sql: ...} can")])


def _described(spec: Any, environ: _Environ, path: KeyPath) -> KeySource:
    kind = _kind(spec)
    if kind is None:
        raise WordsRefused([WordProblem(path, f"must be {FORMS}")])
    with _extra_named():
        return _OPENERS[kind](spec, environ, path)


def _kind(spec: Any) -> str | None:
    if not isinstance(spec, Mapping) or "id" in spec:
        return None
    return next((kind for kind in _OPENERS if kind in spec), None)


def _open_list(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    return InlineKeys(_words(spec, "keys", path).items("keys"), path=(*path, "keys"))


def _open_file(spec: Mapping[str, Any], environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.file import FileKeys

    words = _words(spec, "file", path)
    return FileKeys(words.required_text("file"), digester=_digester(words), environ=environ)


def _open_sql(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.sql import DEFAULT_STALE_SECONDS, SqlKeys

    words = _words(spec, "sql", path)
    return SqlKeys(
        words.required_text("sql"),
        digester=_digester(words),
        migrate=words.flag("migrate", default=True),
        stale_seconds=words.seconds("stale_seconds", DEFAULT_STALE_SECONDS),
    )


def _open_jwt(spec: Mapping[str, Any], _environ: _Environ, path: KeyPath) -> KeySource:
    from crplugins.keys.jwt import JwtKeys, read_settings

    return JwtKeys(read_settings(_words(spec, "jwt", path).raw("jwt"), (*path, "jwt")))


_OPENERS: Final[Mapping[str, Callable[[Mapping[str, Any], _Environ, KeyPath], KeySource]]] = {
    "file": _open_file,
    "sql": _open_sql,
    "jwt": _open_jwt,
    "keys": _open_list,
}
_KNOWN: Final = {
    "file": ("file", "pepper"),
    "sql": ("sql", "pepper", "migrate", "stale_seconds"),
    "jwt": ("jwt",),
    "keys": ("keys",),
}


def _words(spec: Mapping[str, Any], kind: str, path: KeyPath) -> Words:
    """The words of a source, checked. Raises `WordsRefused`."""
    problems: list[WordProblem] = []
    words = Words(spec, _KNOWN.get(kind, ()), path, problems)
    if kind in ("file", "sql"):
        words.required_text(kind)
        words.text("pepper")
        words.flag("migrate", default=True)
        words.seconds("stale_seconds", 0)
    if problems:
        raise WordsRefused(problems)
    return words


def _digester(words: Words) -> Digester:
    return Digester(words.text("pepper"))
