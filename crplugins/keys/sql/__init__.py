"""Keys in SQLite or PostgreSQL: a cached source, and a store."""

from crplugins.keys.sql.source import DEFAULT_STALE_SECONDS, SqlKeys
from crplugins.keys.sql.store import SqlStore

__all__ = ["DEFAULT_STALE_SECONDS", "SqlKeys", "SqlStore"]
