"""When a request was admitted, and what was expected of it: what a replay of other limits needs to know.

The columns have defaults, so that a gateway of the release before can write beside one of this release.
"""

import sqlalchemy as sa
from alembic import op

revision = "u0003"
down_revision = "u0002"
branch_labels = None
depends_on = None

_COLUMNS = {
    "asked_ms": sa.Double,
    "queued_ms": sa.Double,
    "admitted_ms": sa.Double,
    "settled_ms": sa.Double,
    "expected_input_tokens": sa.BigInteger,
    "output_limit": sa.BigInteger,
    "choices": sa.Integer,
}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.add_column("usage", sa.Column(name, kind))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("usage", name)
