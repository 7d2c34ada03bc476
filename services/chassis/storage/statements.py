"""Statements that both databases know and SQLAlchemy writes for each apart."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(table: sa.TableClause, connection: sa.Connection) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can have an ON CONFLICT, for the database behind `connection`."""
    return INSERTS[connection.dialect.name](table)
