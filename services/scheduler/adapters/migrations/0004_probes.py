"""Probes."""

import sqlalchemy as sa
from alembic import op

from services.chassis.storage import only_where

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "probes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("probes_by_status", "probes", ["status", "id"])
    op.create_index("probes_by_model", "probes", ["slug", "id"])
    op.create_index("probes_by_creation", "probes", ["created_at"])
    op.create_index(
        "one_probe_of_a_version_on_a_target",
        "probes",
        ["slug", "model_version", "target"],
        unique=True,
        **only_where("status in ('queued', 'running')"),
    )
