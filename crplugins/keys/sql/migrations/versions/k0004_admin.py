"""Whether a key is an operator's."""

import sqlalchemy as sa
from alembic import op

revision = "k0004"
down_revision = "k0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("admin", sa.Boolean))


def downgrade() -> None:
    op.drop_column("api_key", "admin")
