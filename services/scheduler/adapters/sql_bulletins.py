"""The bulletin of the scheduler that leads, in a SQL database."""

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.storage import Database
from services.scheduler.domain.bulletin import Bulletin

_bulletins = sa.table("bulletins", sa.column("id"), sa.column("body"))
_bulletin_json = TypeAdapter(Bulletin)


class SqlBulletinBoard:
    """A board with room for one bulletin."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shown = ""

    async def put_up(self, bulletin: Bulletin) -> None:
        """Show a bulletin in place of the one before, unless it says the same."""
        body = _bulletin_json.dump_json(bulletin).decode()
        if body == self._shown:
            return

        def put_up(connection: sa.Connection) -> None:
            connection.execute(sa.delete(_bulletins))
            connection.execute(sa.insert(_bulletins).values(id=1, body=body))

        await self._database.write(put_up)
        self._shown = body

    async def read(self) -> Bulletin | None:
        """The bulletin that is shown."""
        query = sa.select(_bulletins.c.body)
        body = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        if body is None or body == self._shown:
            return None
        self._shown = body
        return _bulletin_json.validate_json(body)
