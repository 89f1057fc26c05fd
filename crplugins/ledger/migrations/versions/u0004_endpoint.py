"""In which protocol a model was asked.

The column has a default, so that a gateway of the release before can write beside one of this release: it knows chat
completions alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "u0004"
down_revision = "u0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage", sa.Column("endpoint", sa.Text, server_default="chat"))


def downgrade() -> None:
    op.drop_column("usage", "endpoint")
