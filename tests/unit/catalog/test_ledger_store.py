"""What a ledger keeps, on a real database."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.catalog.adapters.sql_ledger import NEWEST, SqlLedger
from services.catalog.domain import Model, Pin
from services.catalog.domain.measurements import History, Measurement, Place, Spot
from services.catalog.domain.work import Work
from services.catalog.ports import Entry
from services.scheduler.convert.reports import measurement_id
from tests.databases import OpenDatabase
from tests.unit.catalog.measuring_bench import (
    EXAMPLE_SHAPE,
    HERE,
    NOON,
    WAN,
    WAN_VERSION,
    a_failure,
    a_measurement,
    opened_ledger,
)

ANYWHERE = Pin(None, None)
MONTH_AGO = NOON - timedelta(days=30)


@pytest.fixture
async def ledger(tmp_path: Path, open_database: OpenDatabase) -> AsyncIterator[SqlLedger]:
    async with opened_ledger(tmp_path, open_database) as opened:
        yield opened


@pytest.fixture
def work(shipped_models: tuple[Model, ...]) -> Work:
    return next(model for model in shipped_models if model.slug == WAN).versions[0].work


async def _add(ledger: SqlLedger, work: Work, *measurements: Measurement) -> None:
    await ledger.add([Entry(each, work.key_of(each.shape)) for each in measurements])


async def _page(ledger: SqlLedger, pin: Pin = ANYWHERE, after: Place | None = None, size: int = 10) -> list[str]:
    return [each.id for each in await ledger.page(WAN, WAN_VERSION, pin, after=after, size=size)]


async def _histories(ledger: SqlLedger, work: Work) -> dict[Spot, History]:
    found = await ledger.histories(WAN, WAN_VERSION, example_key=work.example_key, since=MONTH_AGO)
    return {history.spot: history for history in found}


async def test_a_measurement_comes_back_as_it_was_also_after_a_restart(
    tmp_path: Path, work: Work, open_database: OpenDatabase
) -> None:
    whole, bad = a_measurement(seconds_ago=9, cold_start_ms=8_000, mode="sync"), a_failure()
    async with opened_ledger(tmp_path, open_database) as ledger:
        await _add(ledger, work, whole, bad)
    async with opened_ledger(tmp_path, open_database) as ledger:
        assert await ledger.page(WAN, WAN_VERSION, ANYWHERE, after=None, size=10) == (whole, bad)


async def test_recording_a_measurement_again_changes_nothing(ledger: SqlLedger, work: Work) -> None:
    first = a_measurement()
    await _add(ledger, work, first)
    await _add(ledger, work, replace(first, model_ms=1), a_measurement(id="other", seconds_ago=90))
    assert await _page(ledger) == [first.id, "other"]
    assert (await _histories(ledger, work))[HERE].runs[0].model_ms == 70_000


async def test_measurements_of_before_forget_whose_render_they_were(tmp_path: Path, work: Work) -> None:
    async with opened_ledger(tmp_path) as ledger:
        await _add(ledger, work, a_measurement(id="rnd_0123/1"), a_measurement(id="rnd_0123/2"))
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as before:
        before.execute("UPDATE alembic_version SET version_num = '0001'")
    before.close()
    async with opened_ledger(tmp_path) as ledger:
        names = await _page(ledger)
        await _add(ledger, work, a_measurement(id=measurement_id("rnd_0123", 1)))
        assert await _page(ledger) == names
    assert sorted(names) == sorted([measurement_id("rnd_0123", 1), measurement_id("rnd_0123", 2)])


async def test_recording_nothing_is_well(ledger: SqlLedger) -> None:
    await ledger.add([])


async def test_pages_are_newest_first_join_and_have_no_seams_at_equal_times(ledger: SqlLedger, work: Work) -> None:
    measurements = [a_measurement(seconds_ago=10 * (number // 3)) for number in range(9)]
    await _add(ledger, work, *measurements)
    found: list[str] = []
    after: Place | None = None
    while page := await ledger.page(WAN, WAN_VERSION, ANYWHERE, after=after, size=2):
        found += [each.id for each in page]
        after = Place(page[-1].measured_at, page[-1].id)
    assert found == [each.id for each in sorted(measurements, key=lambda m: (m.measured_at, m.id), reverse=True)]


async def test_a_page_is_of_its_version_and_its_pin(ledger: SqlLedger, work: Work) -> None:
    await _add(
        ledger,
        work,
        a_measurement(id="here"),
        a_measurement(id="l40s", gpu_type="L40S", seconds_ago=70),
        a_measurement(id="mars", region="mars", seconds_ago=80),
        a_measurement(id="other version", model_version="v2"),
        a_measurement(id="other model", slug="other"),
    )
    assert await _page(ledger) == ["here", "l40s", "mars"]
    assert await _page(ledger, Pin("H200", None)) == ["here", "mars"]
    assert await _page(ledger, Pin(None, "eu-north2")) == ["here", "l40s"]
    assert await _page(ledger, Pin("H200", "mars")) == ["mars"]
    assert await _page(ledger, Pin("B200", None)) == []


async def test_only_whole_runs_of_the_example_count_for_the_model_time(ledger: SqlLedger, work: Work) -> None:
    counted = a_measurement(seconds_ago=50, shape={"seed": 9, "fps": 8})
    others = [
        a_measurement(is_first_run=True),
        a_measurement(is_resumed=True),
        a_measurement(model_ms=None),
        a_measurement(shape={"num_frames": 41}),
        a_measurement(shape={"guidance_scale": 5}),
        a_failure(),
    ]
    await _add(ledger, work, counted, *others)
    history = (await _histories(ledger, work))[HERE]
    assert history.runs == (counted,)
    assert len(history.attempts) == 7
    assert history.most_runs == 1


async def test_a_shape_without_what_has_a_default_is_one_with_the_default(ledger: SqlLedger, work: Work) -> None:
    short = {name: value for name, value in EXAMPLE_SHAPE.items() if name not in ("width", "height", "num_frames")}
    await _add(ledger, work, replace(a_measurement(), shape=short))
    assert len((await _histories(ledger, work))[HERE].runs) == 1


async def test_only_runs_with_the_software_of_the_newest_success_count(ledger: SqlLedger, work: Work) -> None:
    old = [a_measurement(seconds_ago=900 + number) for number in range(4)]
    new = a_measurement(software={"weights": "b"}, seconds_ago=100)
    newest = a_measurement(software={"weights": "b"}, shape={"num_frames": 41}, seconds_ago=50)
    await _add(ledger, work, *old, new, newest, a_failure())
    history = (await _histories(ledger, work))[HERE]
    assert history.runs == (new,)
    assert (history.most_runs, history.most_other_runs) == (4, 4)
    assert [sample.id for sample in (await ledger.samples(WAN, WAN_VERSION))[0].runs] == [newest.id, new.id]


async def test_what_is_not_fresh_is_remembered_but_does_not_count(ledger: SqlLedger, work: Work) -> None:
    old = [a_measurement(days_ago=31, cold_start_ms=9_000) for _ in range(3)]
    await _add(ledger, work, *old)
    history = (await _histories(ledger, work))[HERE]
    assert (history.runs, history.attempts, history.cold_starts_ms) == ((), (), ())
    assert history.most_runs == 3
    assert history.newest_at == history.newest_run_at == old[0].measured_at
    (samples,) = await ledger.samples(WAN, WAN_VERSION)
    assert len(samples.runs) == 3
    assert samples.cold_starts_ms == (9_000, 9_000, 9_000)


async def test_only_the_newest_of_many_count_and_other_inputs_do_not_push_them_out(
    ledger: SqlLedger, work: Work
) -> None:
    runs = [a_measurement(seconds_ago=5_000 + number) for number in range(NEWEST + 1)]
    organic = [a_measurement(seconds_ago=number, shape={"num_frames": 41}) for number in range(NEWEST + 1)]
    await _add(ledger, work, *runs, *organic)
    history = (await _histories(ledger, work))[HERE]
    assert history.runs == tuple(runs[:NEWEST])
    assert history.attempts == tuple(organic[:NEWEST])


async def test_a_device_and_its_imitation_are_two_spots(ledger: SqlLedger, work: Work) -> None:
    await _add(ledger, work, a_measurement(), a_measurement(simulated=True), a_measurement(simulated=True))
    histories = await _histories(ledger, work)
    assert len(histories[HERE].runs) == 1
    assert len(histories[replace(HERE, simulated=True)].runs) == 2
    assert [len(each.runs) for each in await ledger.samples(WAN, WAN_VERSION)] == [1, 2]


async def test_starts_count_whatever_became_of_their_attempts(ledger: SqlLedger, work: Work) -> None:
    await _add(ledger, work, a_failure(cold_start_ms=7, seconds_ago=1), a_measurement(cold_start_ms=5, seconds_ago=2))
    assert (await _histories(ledger, work))[HERE].cold_starts_ms == (7, 5)
