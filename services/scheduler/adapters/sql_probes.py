"""Probes in a SQL database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.storage import Database
from services.scheduler.domain.probe import UNDER_WAY, Probe, ProbeStatus
from services.scheduler.probe_ports import ProbePage, Step

_probes = sa.table(
    "probes",
    *map(sa.column, ("id", "slug", "model_version", "target", "status", "created_at", "body")),
)
_probe_json = TypeAdapter(Probe)
_bodies = sa.select(_probes.c.body)
_UNDER_WAY = _probes.c.status.in_([status.value for status in UNDER_WAY])


class SqlProbeStore:
    """The probe store over SQLAlchemy. The columns are what statements look at; the rest of a probe is its body."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, probe: Probe) -> Probe:
        """Keep a new probe, or return the one under way in its place."""
        row = _row(probe)
        rival = _bodies.where(
            _probes.c.slug == row["slug"],
            _probes.c.model_version == row["model_version"],
            _probes.c.target == row["target"],
            _UNDER_WAY,
        )

        def add(connection: sa.Connection) -> Probe:
            if body := connection.execute(rival).scalar_one_or_none():
                return _probe_json.validate_json(body)
            connection.execute(sa.insert(_probes).values(row))
            return probe

        return await self._database.write(add)

    async def get(self, probe_id: str) -> Probe | None:
        """A probe."""
        found = await self._find(_bodies.where(_probes.c.id == probe_id))
        return found[0] if found else None

    async def page(self, *, slug: str | None, status: ProbeStatus | None, size: int, before: str | None) -> ProbePage:
        """Probes, newest first."""
        query = _bodies.order_by(_probes.c.id.desc())
        if slug is not None:
            query = query.where(_probes.c.slug == slug)
        if status is not None:
            query = query.where(_probes.c.status == status.value)
        if before is not None:
            query = query.where(_probes.c.id < before)
        probes = await self._find(query.limit(size + 1))
        return ProbePage(probes[:size], probes[size - 1].id if len(probes) > size else None)

    async def advance(self, probe_id: str, step: Step) -> Probe | None:
        """Apply a step to a probe."""
        this = _probes.c.id == probe_id

        def advance(connection: sa.Connection) -> Probe | None:
            body = connection.execute(_bodies.where(this)).scalar_one_or_none()
            after = step(_probe_json.validate_json(body)) if body else None
            if after is not None:
                connection.execute(sa.update(_probes).where(this).values(_row(after)))
            return after

        return await self._database.write(advance)

    async def under_way(self) -> Sequence[Probe]:
        """Those of which something can still become, oldest first."""
        return await self._find(_bodies.where(_UNDER_WAY).order_by(_probes.c.id))

    async def created_since(self, moment: datetime) -> Sequence[Probe]:
        """Those created at `moment` or later, oldest first."""
        return await self._find(_bodies.where(_probes.c.created_at >= moment.timestamp()).order_by(_probes.c.id))

    async def _find(self, query: sa.Select[tuple[Any]]) -> list[Probe]:
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return [_probe_json.validate_json(body) for body in bodies]


def _row(probe: Probe) -> dict[str, Any]:
    return {
        "id": probe.id,
        "slug": probe.slug,
        "model_version": probe.model_version,
        "target": str(probe.target),
        "status": probe.status.value,
        "created_at": probe.created_at.timestamp(),
        "body": _probe_json.dump_json(probe).decode(),
    }
