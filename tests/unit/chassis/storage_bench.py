"""A small store to try databases with."""

import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

TALLIES = sa.table("tallies", sa.column("name", sa.Text), sa.column("count", sa.Integer))

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tallies", sa.Column("name", sa.Text, primary_key=True), sa.Column("count", sa.Integer, nullable=False)
    )
"""


def migrations_in(folder: Path) -> Path:
    """The migrations of the store."""
    migrations = folder / "migrations"
    migrations.mkdir()
    (migrations / "0001_tallies.py").write_text(_MIGRATION)
    return migrations


def tally_of(name: str) -> Callable[[sa.Connection], int]:
    """The transaction that looks how much was counted."""
    query = sa.select(TALLIES.c.count).where(TALLIES.c.name == name)
    return lambda connection: connection.execute(query).scalar_one_or_none() or 0


def add_one(name: str, *, pause_seconds: float = 0.0) -> Callable[[sa.Connection], int]:
    """The transaction that counts by looking first: done twice, it counts twice."""

    def count(connection: sa.Connection) -> int:
        before = tally_of(name)(connection)
        time.sleep(pause_seconds)
        if before:
            connection.execute(sa.update(TALLIES).where(TALLIES.c.name == name).values(count=before + 1))
        else:
            connection.execute(sa.insert(TALLIES).values(name=name, count=1))
        return before + 1

    return count
