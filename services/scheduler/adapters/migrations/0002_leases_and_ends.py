"""What leases, shares and quotas are found by."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("renders", sa.Column("ended_at", sa.Float))
    op.create_index(
        "renders_by_end",
        "renders",
        ["ended_at"],
        sqlite_where=sa.text("ended_at is not null"),
        postgresql_where=sa.text("ended_at is not null"),
    )
