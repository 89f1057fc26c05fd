"""What the answer says of its bill: the model, the processing tier, the provider's own cost; and whose price a cost is.

The columns have defaults, so that a gateway of the release before can write beside one of this release.
"""

import sqlalchemy as sa
from alembic import op

revision = "u0002"
down_revision = "u0001"
branch_labels = None
depends_on = None

_TEXTS = ("provider_model", "service_tier", "cost_source")


def upgrade() -> None:
    for name in _TEXTS:
        op.add_column("usage", sa.Column(name, sa.Text))
    op.add_column("usage", sa.Column("provider_cost_micro_usd", sa.BigInteger))
    cost = sa.Column("provider_cost_micro_usd", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("usage_daily", cost)


def downgrade() -> None:
    op.drop_column("usage_daily", "provider_cost_micro_usd")
    for name in ("provider_cost_micro_usd", *_TEXTS):
        op.drop_column("usage", name)
