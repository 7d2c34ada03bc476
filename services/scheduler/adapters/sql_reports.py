"""Reports that are due in a SQL database, beside the renders they tell of."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.storage import Database, insert_into
from services.scheduler.domain.facts import Outcome
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.report_ports import Report

_reports = sa.table("reports", sa.column("render_id"), sa.column("seq"))
_renders = sa.table("renders", sa.column("id"), sa.column("body"))
_render_json = TypeAdapter(Render)


class SqlReportStore:
    """A ReportStore on the schema that `migrations` make. `on_due` is called on a thread of the database."""

    def __init__(self, database: Database, on_due: Callable[[], object] = lambda: None) -> None:
        self._database = database
        self._on_due = on_due
        self._was_enqueued = False

    def enqueue(self, connection: sa.Connection, render: Render, event: RenderEvent) -> None:
        """Have a render told of whose attempt has ended, in the transaction that writes the event that says so."""
        if not render.attempts or render.attempts[-1].outcome is Outcome.RUNNING:
            return
        row = {"render_id": render.id, "seq": event.seq}
        put = insert_into(_reports, connection).values(row)
        connection.execute(put.on_conflict_do_update(index_elements=["render_id"], set_=row))
        self._was_enqueued = True
        self._on_due()

    async def due(self, *, after: str, limit: int) -> Sequence[Report]:
        """Renders to tell of, as they stand now."""
        if self._was_enqueued:
            self._was_enqueued = False
            # Writers take turns: when this one's is over, what was enqueued is committed, or never happened.
            await self._database.write(lambda _: None)
        query = (
            sa.select(_renders.c.body, _reports.c.seq)
            .join_from(_reports, _renders, _renders.c.id == _reports.c.render_id)
            .where(_reports.c.render_id > after)
            .order_by(_reports.c.render_id)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Report(_render_json.validate_json(row.body), row.seq) for row in rows]

    async def told(self, report: Report) -> None:
        """Forget a report, unless it is due again."""
        this = sa.delete(_reports).where(_reports.c.render_id == report.render.id, _reports.c.seq == report.seq)
        await self._database.write(lambda connection: connection.execute(this))
