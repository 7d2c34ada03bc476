"""A service's own database: transactions on SQLite or PostgreSQL, migrated at start by Alembic."""

from services.chassis.storage.database import CommitInDoubt, Database, StoreUnavailable, Transaction
from services.chassis.storage.opening import database_of, postgresql_database, schema_of, sqlite_database
from services.chassis.storage.postgresql import session_with
from services.chassis.storage.statements import insert_into, only_where

__all__ = [
    "CommitInDoubt",
    "Database",
    "StoreUnavailable",
    "Transaction",
    "database_of",
    "insert_into",
    "only_where",
    "postgresql_database",
    "schema_of",
    "session_with",
    "sqlite_database",
]
