"""The tables: `usage` has one row per request, `usage_daily` their sums by day and by the columns of its key.

On PostgreSQL `usage` is partitioned by month (`partitions`), and `started_at` part of its key; in a ledger that an
older release has made it is as it stands here.
"""

from typing import Final

from sqlalchemy import JSON, BigInteger, Boolean, Column, Date, Double, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from crplugins.sql.utc_time import UtcTime

metadata: Final = MetaData()

usage: Final = Table(
    "usage",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("key_id", Text),
    Column("team", Text),
    Column("user", Text),
    Column("requested_model", Text),
    Column("served_model", Text),
    Column("provider", Text),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("finish_reason", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_input_tokens", BigInteger, nullable=False),
    Column("reasoning_output_tokens", BigInteger, nullable=False),
    Column("usage_source", Text, nullable=False),
    Column("cost_micro_usd", BigInteger),  # null: the price is unknown
    Column("attempts", Integer, nullable=False),
    Column("ttft_ms", Double),
    Column("duration_ms", Double, nullable=False),
    Column("overhead_us", BigInteger, nullable=False),
    Column("tags", JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"), nullable=False),
    Column("provider_model", Text),  # null here and below: in a row of an older release, too
    Column("service_tier", Text),
    Column("cost_source", Text),
    Column("provider_cost_micro_usd", BigInteger),
    Column("asked_ms", Double),
    Column("queued_ms", Double),
    Column("admitted_ms", Double),
    Column("settled_ms", Double),
    Column("expected_input_tokens", BigInteger),
    Column("output_limit", BigInteger),
    Column("choices", Integer),
    Column("endpoint", Text, server_default="chat"),
    Index("ix_usage_key_id_started_at", "key_id", "started_at"),
    Index("ix_usage_started_at", "started_at"),
)

usage_daily: Final = Table(
    "usage_daily",
    metadata,
    Column("day", Date, primary_key=True),  # of `started_at`, in UTC
    Column("key_id", Text, primary_key=True),  # "" means null here and below: nulls are never equal
    Column("team", Text, primary_key=True),
    Column("requested_model", Text, primary_key=True),
    Column("served_model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),  # requests that are neither ok nor cancelled
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_input_tokens", BigInteger, nullable=False),
    Column("reasoning_output_tokens", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),  # of the requests whose price is known
    Column("unpriced_requests", BigInteger, nullable=False),
    Column("estimated_requests", BigInteger, nullable=False),  # whose provider reported no usage
    Column("provider_cost_micro_usd", BigInteger, nullable=False, server_default="0"),  # as far as providers tell it
)
