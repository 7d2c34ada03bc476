"""Renders, their attempts, what each phase of them cost, and the renders that estimates are compared with."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "renders",
        sa.Column("render_id", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("api_key_id", sa.Text, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("is_final", sa.Boolean, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("ended_at_us", sa.BigInteger),
        sa.Column("estimated_gpu_seconds", sa.Float),
        sa.Column("estimated_gpu_seconds_p90", sa.Float),
        sa.Column("estimated_cost_usd", sa.Float),
    )
    op.create_table(
        "attempts",
        sa.Column("render_id", sa.Text, sa.ForeignKey("renders.render_id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        # Beside the render's own, so that the use of an account needs no other table.
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("api_key_id", sa.Text, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("gpu_type", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("started_at_us", sa.BigInteger, nullable=False),
        sa.Column("ended_at_us", sa.BigInteger, nullable=False),
        sa.Column("ended_day", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("resumed_steps", sa.Integer, nullable=False),
        sa.Column("cost_per_gpu_hour_usd", sa.Float),
        sa.Column("gpu_us", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger),
    )
    op.create_index("attempts_by_day", "attempts", ["account", "ended_day"])
    op.create_table(
        "attempt_phases",
        sa.Column("render_id", sa.Text, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("gpu_us", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger),
        sa.ForeignKeyConstraint(["render_id", "attempt"], ["attempts.render_id", "attempts.attempt"]),
    )
    op.create_table(
        "outcomes",
        sa.Column("render_id", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("gpu_type", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("ended_at_us", sa.BigInteger, nullable=False),
        sa.Column("actual", sa.Float, nullable=False),
        sa.Column("estimated", sa.Float, nullable=False),
        sa.Column("estimated_p90", sa.Float),
    )
    op.create_index("outcomes_by_target", "outcomes", ["slug", "version", "gpu_type", "region", "ended_at_us"])
