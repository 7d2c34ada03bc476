"""Renders whose ended attempts the ledger and the bills have not been told of yet."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "reports",
        sa.Column("render_id", sa.Text, sa.ForeignKey("renders.id"), primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
    )
