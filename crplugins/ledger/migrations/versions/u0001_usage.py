"""A row per request, and the sums of each day.

On PostgreSQL the rows are partitioned by month, whose tables the process that writes makes. A ledger that an older
release has made is one table, and the later revisions are right for both.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "u0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TOKENS = (
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens",
)  # fmt: skip


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _is_partitioned() -> bool:
    """PostgreSQL 14 is the oldest that is tested."""
    dialect = op.get_bind().dialect
    return dialect.name == "postgresql" and (dialect.server_version_info or (0,)) >= (14,)


def upgrade() -> None:
    partitioned = _is_partitioned()
    op.create_table(
        "usage",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("started_at", _TIME, nullable=False, primary_key=partitioned),
        sa.Column("ended_at", _TIME, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("team", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("requested_model", sa.Text),
        sa.Column("served_model", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text),
        *_counts(*_TOKENS),
        sa.Column("usage_source", sa.Text, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("ttft_ms", sa.Double),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("overhead_us", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        postgresql_partition_by="RANGE (started_at)" if partitioned else None,
    )
    op.create_index("ix_usage_key_id_started_at", "usage", ["key_id", "started_at"])
    op.create_index("ix_usage_started_at", "usage", ["started_at"])
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.Date, primary_key=True),
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("key_id", "team", "requested_model", "served_model", "provider")
        ),
        *_counts("requests", "errors", *_TOKENS, "cost_micro_usd", "unpriced_requests", "estimated_requests"),
    )


def downgrade() -> None:
    for table in ("usage_daily", "usage"):
        op.drop_table(table)
