"""Spans by trace, and when a trace was last told of."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("trace_id", sa.LargeBinary, primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("is_of_render", sa.Boolean, nullable=False),
        sa.Column("spans", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("traces_by_age", "traces", ["is_of_render", "seen_at"])
    op.create_table(
        "spans",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("trace_id", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("spans_by_trace", "spans", ["trace_id"])
