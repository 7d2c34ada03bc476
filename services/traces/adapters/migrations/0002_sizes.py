"""How large the spans of a trace are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SIZES = """
UPDATE traces SET bytes = (
    SELECT coalesce(sum(length(body) + 150), 0) FROM spans WHERE spans.trace_id = traces.trace_id
)
"""


def upgrade() -> None:
    op.add_column("traces", sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(_SIZES)
