"""Who changed what of which key, and when."""

import sqlalchemy as sa
from alembic import op

revision = "k0007"
down_revision = "k0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key_audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("request_id", sa.Text),
    )
    op.create_index("ix_api_key_audit_at", "api_key_audit", ["at"])
    op.create_index("ix_api_key_audit_key_id", "api_key_audit", ["key_id"])


def downgrade() -> None:
    op.drop_table("api_key_audit")
