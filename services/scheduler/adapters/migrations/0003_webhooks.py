"""Webhooks and what waits to be delivered to them."""

import sqlalchemy as sa
from alembic import op

from services.chassis.storage import only_where

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        # A secret as it is, not a hash of it: messages are signed with it. It is shown once and never logged; the file
        # is readable by its owner only.
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("statuses", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("last_tried_at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("webhooks_by_account", "webhooks", ["account"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("webhook_id", sa.Text, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("render_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("last_answer", sa.Text, nullable=False),
        sa.Column("next_try_at_us", sa.BigInteger),
        sa.Column("ended_at_us", sa.BigInteger),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("webhook_deliveries_by_account", "webhook_deliveries", ["account", "id"])
    op.create_index("webhook_deliveries_by_webhook", "webhook_deliveries", ["webhook_id", "state", "id"])
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "next_try_at_us", "seq"],
        **only_where("next_try_at_us is not null"),
    )
    op.create_index(
        "webhook_deliveries_by_end",
        "webhook_deliveries",
        ["state", "ended_at_us"],
        **only_where("ended_at_us is not null"),
    )
