"""What both databases know and SQLAlchemy writes for each apart."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(table: sa.TableClause, connection: sa.Connection) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can have an ON CONFLICT, for the database behind `connection`."""
    return _INSERTS[connection.dialect.name](table)


def only_where(condition: str) -> dict[str, Any]:
    """The arguments by which an index has only the rows that a condition holds for."""
    return dict.fromkeys(("sqlite_where", "postgresql_where"), sa.text(condition))
