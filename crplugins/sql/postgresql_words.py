"""The query parameters of a PostgreSQL URL: those of libpq and of Prisma.

Hosts of PostgreSQL give out URLs for other drivers than ours, which is asyncpg. Each of their words is here:
translated, known to change nothing, or refused by its name before anything is connected.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments
"""

import difflib
import os
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFYING: Final = ("verify-ca", "verify-full")
_SESSIONS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_SYSTEM: Final = "system"  # of sslrootcert: the certificates of the operating system

# asyncpg reads these itself, from the URL that it is given.
_DRIVERS_OWN: Final = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service", "krbsrvname", "gsslib", "sslcert", "sslkey",
    "sslpassword", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version",
})  # fmt: skip
_FILES: Final = ("sslcert", "sslkey", "sslcrl", "passfile")

# Values that ask for what is done anyway. `pgbouncer`: no statement has a name here, so every pooler will do.
_NO_DIFFERENCE: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("utf8", "utf-8", "unicode", "auto"),
    "gssdelegation": ("0",),
    "gssencmode": ("disable", "prefer"),
    "load_balance_hosts": ("disable",),
    "pgbouncer": ("true", "false"),
    "replication": ("false", "off", "no", "0"),
    "sslcertmode": ("allow",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
_CACHES: Final = ("statement_cache_size", "prepared_statement_cache_size")  # no statement is kept

# What to write in the place of words that stand for something we have.
_INSTEAD: Final[Mapping[str, str]] = {
    "channel_binding": "the driver cannot bind; write prefer, and sslmode=verify-full with sslrootcert",
    "currentSchema": "write schema",
    "search_path": "write schema",
    "sslaccept": "write sslmode",
    "sslidentity": "write sslcert and sslkey, in PEM",
    "statement_timeout": "write options=-c%20statement_timeout%3D5000",
}


class Words(msgspec.Struct, frozen=True):
    """The words of one URL, read.

    Attributes:
        driver: those that the driver reads itself, by name.
        settings: of the server, for each session: `application_name`, `options`.
        schema: where tables are made and looked for; None for the server's own choice.
        connections: how many a pool may have; None for our own choice.
        connect_seconds, statement_seconds, pool_seconds: bounds that are kept where they are shorter than ours.
        direct_tls: begin with TLS, without asking the server whether it can.
        system_certificates: the server's certificate is judged by those of the operating system.
    """

    driver: Mapping[str, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    settings: Mapping[str, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    schema: str | None = None
    connections: int | None = None
    connect_seconds: float | None = None
    statement_seconds: float | None = None
    pool_seconds: float | None = None
    direct_tls: bool | None = None
    system_certificates: bool = False

    def __repr__(self) -> str:
        """Without the words of the driver, of which some are secrets."""
        shown = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "driver"}
        return f"Words({shown})"

    def arguments(self, hosts: str, timeout: float) -> dict[str, Any]:
        """The arguments of `asyncpg.connect` beside user, password and database.

        Statements have no names and are not kept. A pooler in transaction mode, such as PgBouncer, gives each
        transaction another session of the server: a name would be there already, or not any more.
        """
        made: dict[str, Any] = {
            "dsn": f"postgresql://{hosts}?{urlencode(self.driver)}",
            "timeout": _shorter(timeout, self.connect_seconds),
            "command_timeout": _shorter(timeout, self.statement_seconds),
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
            "server_settings": dict(self.settings) or None,
        }
        if self.direct_tls is not None:
            made["direct_tls"] = self.direct_tls
        if self.system_certificates:
            made["ssl"] = ssl.create_default_context()
        return made


def _shorter(own: float, given: float | None) -> float:
    return own if given is None else min(own, given)


def read_words(pairs: Mapping[str, str]) -> Words:
    """Raises `ValueError` that names the word, and never a value: it may be a secret."""
    words = Words()
    for name, value in pairs.items():
        words = _read(words, name, value)
    return _checked(words)


def _read(words: Words, name: str, value: str) -> Words:
    if name in _DRIVERS_OWN:
        return _for_driver(words, name, value)
    if name in _READERS:
        return _READERS[name](words, name, value)
    if name in _CACHES and value.isdigit():
        return words
    if value.lower() in _NO_DIFFERENCE.get(name, ()):
        return words
    raise ValueError(_refusal(name))


def _refusal(name: str) -> str:
    if _NO_DIFFERENCE.get(name) and name not in _INSTEAD:
        return f"must not have '{name}' in its query with another value than {_NO_DIFFERENCE[name][0]}"
    if name in _INSTEAD:
        return f"must not have this '{name}' in its query: {_INSTEAD[name]}"
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) is None:  # may be a part of something else
        return "has a query parameter that libpq does not have"
    known = difflib.get_close_matches(name, KNOWN, n=1)
    return f"must not have '{name}' in its query" + (f", did you mean '{known[0]}'?" if known else "")


def _for_driver(words: Words, name: str, value: str) -> Words:
    if name in _FILES:
        _require_file(name, value)
    return msgspec.structs.replace(words, driver=MappingProxyType({**words.driver, name: value}))


def _require_file(name: str, value: str) -> None:
    if not Path(value).is_file():
        raise ValueError(f"has '{name}' in its query, which names no file that is here")


def _sslmode(words: Words, name: str, value: str) -> Words:
    if value not in SSL_MODES:
        raise ValueError(f"must have '{name}' be one of {', '.join(SSL_MODES)}")
    if words.driver.get("sslmode", value) != value:
        raise ValueError("has 'ssl' and 'sslmode' in its query, which are the same")
    return _for_driver(words, "sslmode", value)


def _sslrootcert(words: Words, name: str, value: str) -> Words:
    if value == _SYSTEM:
        return msgspec.structs.replace(words, system_certificates=True)
    _require_file(name, value)
    return _for_driver(words, name, value)


def _sslnegotiation(words: Words, name: str, value: str) -> Words:
    if value not in ("postgres", "direct"):
        raise ValueError(f"must have '{name}' be one of postgres, direct")
    return msgspec.structs.replace(words, direct_tls=value == "direct")


def _sessions(words: Words, name: str, value: str) -> Words:
    if value not in _SESSIONS:
        raise ValueError(f"must have '{name}' be one of {', '.join(_SESSIONS)}")
    return _for_driver(words, name, value)


def _setting(words: Words, name: str, value: str) -> Words:
    return msgspec.structs.replace(words, settings=MappingProxyType({**words.settings, name: value}))


def _fallback_name(words: Words, _name: str, value: str) -> Words:
    return words if "application_name" in words.settings else _setting(words, "application_name", value)


def _schema(words: Words, _name: str, value: str) -> Words:
    return msgspec.structs.replace(words, schema=value)


def _connections(words: Words, name: str, value: str) -> Words:
    if not value.isdigit() or not 0 < int(value) <= 1000:
        raise ValueError(f"must have '{name}' be a number from 1 to 1000")
    return msgspec.structs.replace(words, connections=int(value))


def _seconds(value: str, name: str) -> float | None:
    """None for 0, which is no bound, in libpq and Prisma alike."""
    if re.fullmatch(r"\d{1,9}", value) is None:
        raise ValueError(f"must have '{name}' be a whole number of seconds")
    return float(value) or None


def _connect_timeout(words: Words, name: str, value: str) -> Words:
    return msgspec.structs.replace(words, connect_seconds=_seconds(value, name))


def _socket_timeout(words: Words, name: str, value: str) -> Words:
    return msgspec.structs.replace(words, statement_seconds=_seconds(value, name))


def _pool_timeout(words: Words, name: str, value: str) -> Words:
    return msgspec.structs.replace(words, pool_seconds=_seconds(value, name))


_READERS: Final[Mapping[str, Callable[[Words, str, str], Words]]] = {
    "sslmode": _sslmode,
    "ssl": _sslmode,
    "sslrootcert": _sslrootcert,
    "sslnegotiation": _sslnegotiation,
    "target_session_attrs": _sessions,
    "application_name": _setting,
    "options": _setting,
    "fallback_application_name": _fallback_name,
    "schema": _schema,
    "connection_limit": _connections,
    "connect_timeout": _connect_timeout,
    "socket_timeout": _socket_timeout,
    "pool_timeout": _pool_timeout,
}

KNOWN: Final = tuple(sorted({*_DRIVERS_OWN, *_READERS, *_NO_DIFFERENCE, *_CACHES}))


def _checked(words: Words) -> Words:
    mode = words.driver.get("sslmode")
    if words.system_certificates and mode not in (None, "verify-full"):
        raise ValueError("has sslrootcert=system in its query, which needs sslmode=verify-full")
    given = words.system_certificates or "sslrootcert" in words.driver
    if mode in _VERIFYING and not given and not _usual_certificate():
        raise ValueError(f"has sslmode={mode} in its query, which needs sslrootcert=FILE or sslrootcert=system")
    if words.direct_tls and mode not in ("require", *_VERIFYING) and not words.system_certificates:
        raise ValueError("has sslnegotiation=direct in its query, which needs sslmode=require or more")
    return words


def _usual_certificate() -> bool:
    """Whether there is the file that libpq and the driver look for."""
    return bool(os.environ.get("PGSSLROOTCERT")) or (Path.home() / ".postgresql" / "root.crt").is_file()
