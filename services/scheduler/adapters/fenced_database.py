"""Transactions of a scheduler that leads: none of them happens any more once another one does."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from services.chassis.storage import Database, StoreUnavailable, Transaction

T = TypeVar("T")

# A lock on the key alone: who leads next must wait for this transaction, who renews the present term need not.
_STILL_LEADS = sa.text("SELECT term FROM leadership WHERE term = :term FOR KEY SHARE")


class Deposed(StoreUnavailable):
    """Another scheduler leads. Nothing of the transaction happened, and nothing of a later one will."""


class FencedDatabase(Database):
    """A PostgreSQL database as one scheduler uses it. `term` is that of its leadership, None while it does not lead.

    `on_deposed` is called on the event loop when a transaction was refused.
    """

    def __init__(self, database: Database, term: Callable[[], int | None], on_deposed: Callable[[], None]) -> None:
        self._database = database
        self._term = term
        self._on_deposed = on_deposed

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes, if its caller's term goes on. Raises Deposed."""
        term = self._term()
        if term is None:
            return await self._database.write(transaction)

        def fenced(connection: sa.Connection) -> T:
            if connection.execute(_STILL_LEADS, {"term": term}).first() is None:
                raise Deposed
            return transaction(connection)

        try:
            return await self._database.write(fenced)
        except Deposed:
            self._on_deposed()
            raise

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that reads."""
        return await self._database.read(transaction)

    def close(self) -> None:
        """Let go of what the database holds."""
        self._database.close()
