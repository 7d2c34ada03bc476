"""The tables of the receipts, as the migrations leave them."""

import sqlalchemy as sa

_metadata = sa.MetaData()
renders = sa.Table(
    "renders",
    _metadata,
    sa.Column("render_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer),
    sa.Column("account", sa.Text),
    sa.Column("api_key_id", sa.Text),
    sa.Column("slug", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("is_final", sa.Boolean),
    sa.Column("created_at_us", sa.BigInteger),
    sa.Column("ended_at_us", sa.BigInteger),
    sa.Column("estimated_gpu_seconds", sa.Float),
    sa.Column("estimated_gpu_seconds_p90", sa.Float),
    sa.Column("estimated_cost_usd", sa.Float),
)
attempts = sa.Table(
    "attempts",
    _metadata,
    sa.Column("render_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("api_key_id", sa.Text),
    sa.Column("slug", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("gpu_type", sa.Text),
    sa.Column("region", sa.Text),
    sa.Column("simulated", sa.Boolean),
    sa.Column("started_at_us", sa.BigInteger),
    sa.Column("ended_at_us", sa.BigInteger),
    sa.Column("ended_day", sa.Integer),
    sa.Column("outcome", sa.Text),
    sa.Column("resumed_steps", sa.Integer),
    sa.Column("cost_per_gpu_hour_usd", sa.Float),
    sa.Column("gpu_us", sa.BigInteger),
    sa.Column("cost_micro_usd", sa.BigInteger),
)
phases = sa.Table(
    "attempt_phases",
    _metadata,
    sa.Column("render_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("phase", sa.Text),
    sa.Column("gpu_us", sa.BigInteger),
    sa.Column("cost_micro_usd", sa.BigInteger),
)
outcomes = sa.Table(
    "outcomes",
    _metadata,
    sa.Column("render_id", sa.Text, primary_key=True),
    sa.Column("slug", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("gpu_type", sa.Text),
    sa.Column("region", sa.Text),
    sa.Column("ended_at_us", sa.BigInteger),
    sa.Column("actual", sa.Float),
    sa.Column("estimated", sa.Float),
    sa.Column("estimated_p90", sa.Float),
)
