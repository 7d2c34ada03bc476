"""Renders, their inputs, their logs, and runtimes."""

import sqlalchemy as sa
from alembic import op

from services.chassis.storage import only_where

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "renders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Float),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "idempotency_key", name="one_render_per_idempotency_key"),
    )
    op.create_index("renders_by_account", "renders", ["account", "id"])
    op.create_index("renders_in_progress", "renders", ["status", "id"])
    op.create_index(
        "renders_by_lease",
        "renders",
        ["lease_until"],
        **only_where("lease_until is not null"),
    )
    op.create_table(
        "render_inputs",
        sa.Column("render_id", sa.Text, sa.ForeignKey("renders.id"), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "render_events",
        sa.Column("render_id", sa.Text, sa.ForeignKey("renders.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "runtimes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
