"""Which of several schedulers leads, and what it tells the others."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The term is the key: a transaction that relies on it locks the row's key, which renewing `until` does not touch.
    op.create_table(
        "leadership",
        sa.Column("term", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("session_pid", sa.Integer, nullable=False),
        sa.Column("session_since", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "bulletins",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
