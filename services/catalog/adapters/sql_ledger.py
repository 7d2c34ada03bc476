"""The ledger in a SQL database."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.catalog.domain import Pin
from services.catalog.domain.measurements import History, Measurement, Place, Samples, Spot
from services.catalog.ports import Entry
from services.chassis.storage import Database, insert_into

NEWEST = 200
"""So many of each kind count; older ones say little that these do not."""

_kept = sa.Table(
    "measurements",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("slug", sa.Text),
    sa.Column("model_version", sa.Text),
    sa.Column("gpu_type", sa.Text),
    sa.Column("region", sa.Text),
    sa.Column("simulated", sa.Boolean),
    sa.Column("measured_at_us", sa.BigInteger),
    sa.Column("has_succeeded", sa.Boolean),
    sa.Column("is_whole", sa.Boolean),
    sa.Column("work_key", sa.Text),
    sa.Column("software", sa.Text),
    sa.Column("cold_start_ms", sa.Integer),
    sa.Column("body", sa.Text),
)
_newest_first = (_kept.c.measured_at_us.desc(), _kept.c.id.desc())
_measurement_json = TypeAdapter(Measurement)


class SqlLedger:
    """A Ledger on the schema that `migrations` make. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entries: Sequence[Entry]) -> None:
        """Keep measurements, all or none. One whose id is there already stays as it is."""
        rows = [_to_row(entry) for entry in entries]

        def add(connection: sa.Connection) -> None:
            connection.execute(insert_into(_kept, connection).on_conflict_do_nothing(index_elements=["id"]), rows)

        if rows:
            await self._database.write(add)

    async def histories(self, slug: str, version: str, *, example_key: str, since: datetime) -> tuple[History, ...]:
        """The history of a version on every spot; `since` is how far back measurements are fresh."""

        def read(connection: sa.Connection) -> tuple[History, ...]:
            spots = _spots(connection, slug, version)
            return tuple(_SpotReader(connection, slug, version, spot).history(example_key, since) for spot in spots)

        return await self._database.read(read)

    async def samples(self, slug: str, version: str) -> tuple[Samples, ...]:
        """What estimates of a version rest on, on every spot."""

        def read(connection: sa.Connection) -> tuple[Samples, ...]:
            spots = _spots(connection, slug, version)
            return tuple(_SpotReader(connection, slug, version, spot).samples() for spot in spots)

        return await self._database.read(read)

    async def page(
        self, slug: str, version: str, pin: Pin, *, after: Place | None, size: int
    ) -> tuple[Measurement, ...]:
        """Measurements of a version on the targets a pin admits, newest first, from behind a place."""
        wanted = [_kept.c.slug == slug, _kept.c.model_version == version]
        for column, value in ((_kept.c.gpu_type, pin.gpu_type), (_kept.c.region, pin.region)):
            if value is not None:
                wanted.append(column == value)
        if after is not None:
            place = sa.tuple_(sa.literal(_to_us(after.measured_at)), sa.literal(after.id))
            wanted.append(sa.tuple_(_kept.c.measured_at_us, _kept.c.id) < place)
        query = sa.select(_kept.c.body).where(*wanted).order_by(*_newest_first).limit(size)
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return tuple(_measurement_json.validate_json(body) for body in bodies)


class _SpotReader:
    """Reads what is known of a version on one spot, within a transaction."""

    def __init__(self, connection: sa.Connection, slug: str, version: str, spot: Spot) -> None:
        self._connection = connection
        self._spot = spot
        self._here = (
            _kept.c.slug == slug,
            _kept.c.model_version == version,
            _kept.c.gpu_type == spot.gpu_type,
            _kept.c.region == spot.region,
            _kept.c.simulated == spot.simulated,
        )

    def history(self, example_key: str, since: datetime) -> History:
        """Raises nothing for a spot with any measurement."""
        fresh = _kept.c.measured_at_us >= _to_us(since)
        of_example = (_kept.c.work_key == example_key, _kept.c.is_whole)
        newest_at = sa.select(sa.func.max(_kept.c.measured_at_us))
        newest_run_us = self._connection.execute(newest_at.where(*self._here, *of_example)).scalar_one()
        software = self._newest_software()
        counts = self._runs_by_software(*of_example)
        return History(
            self._spot,
            newest_at=_to_datetime(self._connection.execute(newest_at.where(*self._here)).scalar_one()),
            attempts=self._newest(fresh),
            runs=self._newest(fresh, *of_example, _kept.c.software == software),
            cold_starts_ms=self._cold_starts_ms(fresh),
            newest_run_at=None if newest_run_us is None else _to_datetime(newest_run_us),
            most_runs=max(counts.values(), default=0),
            most_other_runs=max((count for other, count in counts.items() if other != software), default=0),
        )

    def samples(self) -> Samples:
        """Of any age: an estimate from old runs is better than none."""
        is_newest = _kept.c.software == self._newest_software()
        return Samples(self._spot, self._newest(_kept.c.is_whole, is_newest), self._cold_starts_ms())

    def _newest_software(self) -> str | None:
        query = sa.select(_kept.c.software).where(*self._here, _kept.c.has_succeeded).order_by(*_newest_first).limit(1)
        return self._connection.execute(query).scalar_one_or_none()

    def _newest(self, *wanted: sa.ColumnElement[bool]) -> tuple[Measurement, ...]:
        query = sa.select(_kept.c.body).where(*self._here, *wanted).order_by(*_newest_first).limit(NEWEST)
        return tuple(_measurement_json.validate_json(body) for body in self._connection.execute(query).scalars())

    def _cold_starts_ms(self, *wanted: sa.ColumnElement[bool]) -> tuple[int, ...]:
        is_measured = _kept.c.cold_start_ms.is_not(None)
        query = sa.select(_kept.c.cold_start_ms).where(*self._here, is_measured, *wanted)
        return tuple(self._connection.execute(query.order_by(*_newest_first).limit(NEWEST)).scalars())

    def _runs_by_software(self, *wanted: sa.ColumnElement[bool]) -> dict[str, int]:
        query = sa.select(_kept.c.software, sa.func.count().label("runs")).where(*self._here, *wanted)
        rows = self._connection.execute(query.group_by(_kept.c.software))
        return {row.software: row.runs for row in rows}


def _spots(connection: sa.Connection, slug: str, version: str) -> list[Spot]:
    query = (
        sa.select(_kept.c.gpu_type, _kept.c.region, _kept.c.simulated)
        .where(_kept.c.slug == slug, _kept.c.model_version == version)
        .distinct()
        .order_by(_kept.c.gpu_type, _kept.c.region, _kept.c.simulated)
    )
    return [Spot(gpu_type, region, simulated) for gpu_type, region, simulated in connection.execute(query)]


def _to_row(entry: Entry) -> dict[str, object]:
    measurement = entry.measurement
    return {
        "id": measurement.id,
        "slug": measurement.slug,
        "model_version": measurement.model_version,
        "gpu_type": measurement.gpu_type,
        "region": measurement.region,
        "simulated": measurement.simulated,
        "measured_at_us": _to_us(measurement.measured_at),
        "has_succeeded": measurement.has_succeeded,
        "is_whole": measurement.is_whole,
        "work_key": entry.work_key,
        "software": json.dumps(dict(measurement.software), sort_keys=True),
        "cold_start_ms": measurement.cold_start_ms,
        "body": _measurement_json.dump_json(measurement).decode(),
    }


def _to_us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def _to_datetime(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
