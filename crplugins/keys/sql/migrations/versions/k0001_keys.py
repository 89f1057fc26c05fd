"""Keys, their secrets, and the version counter."""

import sqlalchemy as sa
from alembic import op

revision = "k0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("team", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("tags", sa.JSON),
        sa.Column("models", sa.JSON),
        sa.Column("aliases", sa.JSON),
        sa.Column("limits", sa.JSON),
        sa.Column("budget_micro_usd", sa.BigInteger),
        sa.Column("budget_period", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("not_before", _TIME),
        sa.Column("expires", _TIME),
        sa.Column("disabled_at", _TIME),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_api_key_version", "api_key", ["version"])
    op.create_table(
        "api_key_secret",
        sa.Column("hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, sa.ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("not_after", _TIME),
    )
    op.create_index("ix_api_key_secret_key_id", "api_key_secret", ["key_id"])
    version = op.create_table(
        "api_key_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(version, [{"id": 1, "version": 0}])


def downgrade() -> None:
    for table in ("api_key_version", "api_key_secret", "api_key"):
        op.drop_table(table)
