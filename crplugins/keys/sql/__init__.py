"""Keys in SQLite or PostgreSQL: a cached source, and a store."""

from crplugins.keys.sql.source import SqlKeys
from crplugins.keys.sql.store import SqlStore

__all__ = ["SqlKeys", "SqlStore"]
