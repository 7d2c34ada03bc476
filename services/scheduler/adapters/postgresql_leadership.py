"""Leadership among schedulers that share a PostgreSQL, and what they hear of each other there.

The row in `leadership` is the truth: its term grows with each change, and transactions of the leader are fenced by it.
The lease in it, on the server's clock, says when another one may take over; so does the end of the leader's session,
which the server sees at once when a process is killed. A server that has just been started knows no session yet, so
that a leader gets a moment to come back.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.rows import TupleRow

from services.chassis.clock import Clock
from services.chassis.storage import session_with
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.replica_ports import HearOf

log = structlog.get_logger()

LEASE_SECONDS = 10.0
"""How long a leader that says nothing stays the leader."""
LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 0.2
"""Until the next try to connect, and until it is looked again whether a session is really gone."""
_CHANNEL = "forge_renders"
_TOLD = frozenset({RenderStatus.QUEUED, RenderStatus.CANCELING})
"""What others must hear of at once. Everything else they find when they look."""

Session = psycopg.AsyncConnection[TupleRow]

_NOW = "extract(epoch FROM clock_timestamp())"
_RENEW = f"""
    UPDATE leadership
    SET until = {_NOW} + %(lease)s, session_pid = pg_backend_pid(), session_since = (
        SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()
    )
    WHERE term = %(term)s
"""  # noqa: S608 — no part of it is from outside
_LOOK = f"""
    SELECT term, address,
        until = 0
            OR until < {_NOW} AND pg_postmaster_start_time() < clock_timestamp() - interval '5 seconds' AS is_over,
        session_since::timestamptz > pg_postmaster_start_time() AND NOT EXISTS (
            SELECT FROM pg_stat_activity WHERE pid = session_pid AND backend_start = session_since::timestamptz
        ) AS is_gone
    FROM leadership
"""  # noqa: S608 — as above
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtext('forge leadership ' || current_schema()))"
_DEPOSE = "DELETE FROM leadership WHERE term = %s"
_LEAD = """
    INSERT INTO leadership (term, address, session_pid, session_since, until)
    SELECT %(term)s, %(address)s, pid, backend_start::text, 0 FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""
_RESIGN = "UPDATE leadership SET until = 0, session_pid = 0 WHERE term = %s"
_NOTIFY = sa.text(f"SELECT pg_notify('{_CHANNEL}', :told)")


class PostgresqlLeadership:
    """One replica's part in it. `address` is where the others reach it.

    `on_deposed` is called when another one leads in its place; what it did since then was in vain.
    """

    def __init__(self, url: str, schema: str, address: str, clock: Clock, *, on_deposed: Callable[[], None]) -> None:
        self._url = url
        self._schema = schema
        self._address = address
        self._clock = clock
        self._on_deposed = on_deposed
        self._term: int | None = None
        self._leader: str | None = None
        self._gained = asyncio.Event()
        self._missing: int | None = None
        """The term whose leader's session was gone at the last look."""
        self._warned_of: int | None = None

    @property
    def term(self) -> int | None:
        """Number of the present term of this process; None while another one leads."""
        return self._term

    @property
    def leader(self) -> str | None:
        """Address of the replica that leads."""
        was_this_one = self._term is None and self._leader == self._address  # before it was started again
        return None if was_this_one else self._leader

    async def gained(self) -> None:
        """Return once this process leads."""
        await self._gained.wait()

    def tell(self, connection: sa.Connection, render: Render, event: RenderEvent) -> None:
        """Tell the others of an event, in the transaction that writes it."""
        if event.status in _TOLD:
            connection.execute(_NOTIFY, {"told": f"{self._address} {render.id}"})

    async def run(self, hear_of: HearOf) -> None:
        """Lead whenever nobody does, and hear of what others do, until canceled. Then another one may lead at once."""
        is_away = False
        while True:
            try:
                async with await session_with(self._url, self._schema) as session:
                    await session.execute(f"LISTEN {_CHANNEL}".encode())
                    hear_of(None)
                    is_away = False
                    await self._take_part(session, hear_of)
            except psycopg.Error as error:
                if not is_away:
                    log.warning("the session with PostgreSQL is lost", error=type(error).__name__)
                is_away = True
            await self._clock.sleep(_AGAIN_SECONDS)

    async def _take_part(self, session: Session, hear_of: HearOf) -> None:
        try:
            while True:
                await self._renew(session) if self._term is not None else await self._look(session)
                seconds = _AGAIN_SECONDS if self._missing is not None else LOOK_SECONDS
                async for note in session.notifies(timeout=seconds):
                    sender, _, render_id = note.payload.partition(" ")
                    if sender != self._address:
                        hear_of(render_id)
        except asyncio.CancelledError:
            if self._term is not None:
                with suppress(psycopg.Error):
                    await session.execute(_RESIGN, [self._term])
            raise

    async def _renew(self, session: Session) -> None:
        renewed = await session.execute(_RENEW, {"term": self._term, "lease": LEASE_SECONDS})
        if not renewed.rowcount:
            self._on_deposed()

    async def _look(self, session: Session) -> None:
        """Lead if nobody does. A session that is gone must be so twice: a connection may break for a moment."""
        found: Any = await (await session.execute(_LOOK)).fetchone()
        if found is None:
            await self._lead(session, after=None)
            return
        term, self._leader, is_over, is_gone = found
        if self._leader == self._address and not (is_over or is_gone) and self._warned_of != term:
            self._warned_of = term
            log.warning(
                "the scheduler that leads is at this one's own address: if it is not what ran here before, give each "
                "its own FORGE_SCHEDULER_ADDRESS or FORGE_SCHEDULER_ADVERTISED_ADDRESS; until then it serves nobody",
                address=self._address,
            )
        if is_over or (is_gone and self._missing == term):
            await self._lead(session, after=term)
        self._missing = term if is_gone and self._term is None else None

    async def _lead(self, session: Session, after: int | None) -> None:
        async with session.transaction():
            await session.execute(_TAKE_TURN)
            if after is None:
                present = await (await session.execute("SELECT term FROM leadership")).fetchone()
                if present is not None:
                    return
            elif not (await session.execute(_DEPOSE, [after])).rowcount:  # somebody else was faster
                return
            term = (after or 0) + 1
            await session.execute(_LEAD, {"term": term, "address": self._address})
            await session.execute(_RENEW, {"term": term, "lease": LEASE_SECONDS})
        self._term, self._leader = term, self._address
        log.info("this scheduler leads", term=term)
        self._gained.set()
