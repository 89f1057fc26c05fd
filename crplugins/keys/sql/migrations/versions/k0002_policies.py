"""What happens when a key's client leaves, and when a provider tells no usage."""

import sqlalchemy as sa
from alembic import op

revision = "k0002"
down_revision = "k0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("on_disconnect", sa.Text))
    op.add_column("api_key", sa.Column("missing_usage", sa.Text))


def downgrade() -> None:
    op.drop_column("api_key", "missing_usage")
    op.drop_column("api_key", "on_disconnect")
