"""What leases, shares and quotas are found by."""

import sqlalchemy as sa
from alembic import op

from services.chassis.storage import only_where

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("renders", sa.Column("ended_at", sa.Float))
    op.create_index(
        "renders_by_end",
        "renders",
        ["ended_at"],
        **only_where("ended_at is not null"),
    )
