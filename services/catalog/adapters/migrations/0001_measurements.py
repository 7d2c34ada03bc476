"""Measurements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("gpu_type", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("measured_at_us", sa.BigInteger, nullable=False),
        sa.Column("has_succeeded", sa.Boolean, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.Column("work_key", sa.Text, nullable=False),
        sa.Column("software", sa.Text, nullable=False),
        sa.Column("cold_start_ms", sa.Integer),
        sa.Column("body", sa.Text, nullable=False),
    )
    spot = ["slug", "model_version", "gpu_type", "region", "simulated"]
    op.create_index("measurements_by_version", "measurements", ["slug", "model_version", "measured_at_us", "id"])
    op.create_index("measurements_by_spot", "measurements", [*spot, "measured_at_us", "id"])
    op.create_index(
        "measurements_by_work", "measurements", [*spot, "work_key", "is_whole", "software", "measured_at_us", "id"]
    )
