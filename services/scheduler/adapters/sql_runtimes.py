"""Runtimes in a SQL database."""

from collections.abc import Sequence

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.storage import Database
from services.scheduler.domain.runtime import Runtime

_runtimes = sa.table("runtimes", sa.column("id"), sa.column("body"))
_runtime_json = TypeAdapter(Runtime)


class SqlRuntimeStore:
    """The runtime store over SQLAlchemy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, runtime: Runtime) -> None:
        """Store a runtime as it is now."""
        body = _runtime_json.dump_json(runtime).decode()

        def save(connection: sa.Connection) -> None:
            connection.execute(sa.delete(_runtimes).where(_runtimes.c.id == runtime.id))
            connection.execute(sa.insert(_runtimes).values(id=runtime.id, body=body))

        await self._database.write(save)

    async def remove(self, runtime_id: str) -> None:
        """Forget a runtime."""
        gone = sa.delete(_runtimes).where(_runtimes.c.id == runtime_id)
        await self._database.write(lambda connection: connection.execute(gone))

    async def all(self) -> Sequence[Runtime]:
        """Every stored runtime."""
        query = sa.select(_runtimes.c.body)
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return [_runtime_json.validate_json(body) for body in bodies]
