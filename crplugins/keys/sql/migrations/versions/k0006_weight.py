"""The share of a key of a limit for which several wait."""

import sqlalchemy as sa
from alembic import op

revision = "k0006"
down_revision = "k0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("weight", sa.Integer))


def downgrade() -> None:
    op.drop_column("api_key", "weight")
