"""Whose requests are refused first when a gateway is full."""

import sqlalchemy as sa
from alembic import op

revision = "k0005"
down_revision = "k0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("priority", sa.Text))


def downgrade() -> None:
    op.drop_column("api_key", "priority")
