"""Whether a key's budget and its list of models are shadows, which refuse nothing."""

import sqlalchemy as sa
from alembic import op

revision = "k0003"
down_revision = "k0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("models_shadow", sa.Boolean))
    op.add_column("api_key", sa.Column("budget_shadow", sa.Boolean))


def downgrade() -> None:
    op.drop_column("api_key", "budget_shadow")
    op.drop_column("api_key", "models_shadow")
