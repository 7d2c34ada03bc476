"""What every database promises to the stores on it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from services.chassis.errors import ServiceUnavailable
from services.chassis.tasks import uninterrupted

T = TypeVar("T")
Transaction = Callable[[Connection], T]
"""What happens in one transaction: a plain function, so that it cannot be interrupted in the middle.

It may be run again from its beginning: until the transaction is committed, nothing of it has happened.
"""

_READERS = 4


class StoreUnavailable(ServiceUnavailable):
    """The database cannot be read or written now: its disk is full, or it is away. Nothing of the transaction happened.

    CommitInDoubt is the one exception to that.
    """

    def __init__(self) -> None:
        super().__init__("the store")


class CommitInDoubt(StoreUnavailable):
    """The database went away during a commit and did not come back in time to say whether it happened."""


class Database(ABC):
    """Transactions on one database. A canceled caller waits for the end of its transaction."""

    @abstractmethod
    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes, as if it were the only one.

        Durable when it returns, never happened when it raises. Raises StoreUnavailable.
        """

    @abstractmethod
    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction on a consistent view of what was committed. Raises StoreUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of threads and connections."""


class ThreadedDatabase(Database):
    """Transactions on threads of their own: one that writes, some that read."""

    def __init__(self) -> None:
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="database-reader")

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes; those of this process take turns."""
        return await _on(self._writing, lambda: self._write(transaction))

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that reads."""
        return await _on(self._reading, lambda: self._read(transaction))

    def close(self) -> None:
        """Let go of threads and connections."""
        for threads in (self._reading, self._writing):
            threads.shutdown()
        self._disconnect()

    @abstractmethod
    def _write(self, transaction: Transaction[T]) -> T: ...

    @abstractmethod
    def _read(self, transaction: Transaction[T]) -> T: ...

    @abstractmethod
    def _disconnect(self) -> None: ...


async def _on(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await uninterrupted(asyncio.get_running_loop().run_in_executor(threads, work))
