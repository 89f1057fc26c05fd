"""The tables: identity and policy apart from secrets, so that a key outlives each of them."""

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

from crplugins.sql.utc_time import UtcTime

metadata: Final = MetaData()

api_key: Final = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text),
    Column("owner", Text),
    Column("tags", JSON(none_as_null=True)),
    Column("models", JSON(none_as_null=True)),
    Column("aliases", JSON(none_as_null=True)),
    Column("limits", JSON(none_as_null=True)),
    Column("budget_micro_usd", BigInteger),
    Column("budget_period", Text),
    Column("on_disconnect", Text),
    Column("missing_usage", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("not_before", UtcTime),
    Column("expires", UtcTime),
    Column("disabled_at", UtcTime),
    Column("version", BigInteger, nullable=False, index=True),  # that of its last change
)

api_key_secret: Final = Table(
    "api_key_secret",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("scheme", Text, nullable=False),
    Column("key_id", Text, ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("hint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("not_after", UtcTime),
)

api_key_version: Final = Table(
    "api_key_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("version", BigInteger, nullable=False),
)
"""One row, counted up by every change in the transaction that makes it: whoever polls it sees each change once."""
