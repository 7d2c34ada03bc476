"""How long keys were made to work, which takes the place of which, and rate limits of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("lifetime_us", sa.BigInteger))
    op.add_column("api_keys", sa.Column("rate_per_second", sa.Float))
    op.add_column("api_keys", sa.Column("rate_burst", sa.Integer))
    op.add_column("api_keys", sa.Column("replaces", sa.Text))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Text))
    op.execute("UPDATE api_keys SET lifetime_us = expires_at_us - created_at_us WHERE expires_at_us IS NOT NULL")
