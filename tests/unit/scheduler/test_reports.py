"""Ended attempts are told to the ledger and to the bills: all of them, however long those are away."""

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.chassis.clock import SystemClock
from services.chassis.errors import ForgeError, ServiceUnavailable
from services.scheduler.__main__ import MIGRATIONS, reporting
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.assembly import assembled
from services.scheduler.convert.reports import measurement_id, measurements_to_proto, use_to_proto
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import House, at_step, parts_of


class NotedBooks:
    """Keeps what it was told; raises what it is told to raise first."""

    def __init__(self, *errors: ForgeError) -> None:
        self.told = {}
        self.errors = deque(errors)
        self.news = asyncio.Event()

    async def tell(self, render):
        self.news.set()
        if self.errors:
            raise self.errors.popleft()
        self.told[render.id] = render

    async def until(self, holds):
        async with asyncio.timeout(10):
            while not holds():
                self.news.clear()
                await self.news.wait()


class Eager(SystemClock):
    """A clock that lets nobody wait long."""

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.01))


@pytest.fixture
def open_books(tmp_path, open_database_of_all):
    """Opens a scheduler that reports to `books`; opening another one is its restart."""

    @asynccontextmanager
    async def opening(*books, workers=None, **more):
        clock = SystemClock()
        async with open_database_of_all(tmp_path / "s.sqlite3", MIGRATIONS) as database:
            reports, reporter = reporting(database, Eager(), books)
            workers = workers or ScriptedWorkers()
            store = SqlRenderStore(database, clock, outboxes=[reports.enqueue])
            parts = parts_of(database, clock, workers, store=store, further_works=[reporter.run], **more)
            async with assembled(**parts) as assembly:
                yield House(assembly, store, workers, clock)

    return opening


async def test_every_bookkeeper_is_told_of_a_render_that_has_ended(open_books):
    bills, ledger = NotedBooks(), NotedBooks()
    async with open_books(bills, ledger) as house:
        render = await house.finished(await house.create())
        await bills.until(lambda: render.id in bills.told)
        await ledger.until(lambda: render.id in ledger.told)
    assert ledger.told[render.id].status is RenderStatus.SUCCEEDED


async def test_nobody_is_told_of_a_render_that_never_had_a_device(open_books):
    bills = NotedBooks()
    async with open_books(bills, workers=ScriptedWorkers(free=False)) as house:
        first, second, third = [await house.create() for _ in range(3)]
        await house.cancel(third)
        await house.workers.let_through(100)
        await house.finished(first)
        await house.finished(second)
        await bills.until(lambda: bills.told.keys() >= {first.id, second.id})
    assert third.id not in bills.told


async def test_bookkeepers_that_are_away_are_told_when_they_are_back(open_books):
    bills = NotedBooks(*[ServiceUnavailable("billing")] * 5)
    async with open_books(bills) as house:
        render = await house.finished(await house.create())
        await bills.until(lambda: render.id in bills.told)


async def test_what_was_not_told_yet_survives_a_restart(open_books):
    async with open_books(NotedBooks(*[ServiceUnavailable("billing")] * 10_000)) as house:
        render = await house.finished(await house.create())
    bills = NotedBooks()
    async with open_books(bills):
        await bills.until(lambda: render.id in bills.told)


async def test_one_that_is_refused_keeps_no_other_from_being_told(open_books):
    bills = NotedBooks(ForgeError("no"))
    async with open_books(bills) as house:
        refused = await house.finished(await house.create())
        await bills.until(lambda: not bills.errors)
        other = await house.finished(await house.create())
        await bills.until(lambda: other.id in bills.told)
    assert refused.id not in bills.told


async def test_what_was_told_once_is_not_told_again_after_a_restart(open_books):
    bills = NotedBooks()
    async with open_books(bills) as house:
        first = await house.finished(await house.create())
        await bills.until(lambda: first.id in bills.told)
        second = await house.finished(await house.create())
        await bills.until(lambda: second.id in bills.told)
        third = await house.finished(await house.create())
        await bills.until(lambda: third.id in bills.told)
    later = NotedBooks()
    async with open_books(later) as house:
        fourth = await house.finished(await house.create())
        await later.until(lambda: fourth.id in later.told)
    assert first.id not in later.told
    assert second.id not in later.told


# What is told


async def test_a_bill_has_each_attempt_with_its_device_time_by_phase_which_adds_up(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0, load_seconds=5.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        await house.workers.kill(running.runtime_id)
        ended = await house.finished(render)
    use = use_to_proto(ended)
    assert [attempt.outcome for attempt in use.attempts] == ["lost", "succeeded"]
    assert use.is_final
    assert use.seq == ended.last_seq
    for told, record in zip(use.attempts, ended.attempts, strict=True):
        assert sum(told.phase_gpu_seconds.values()) == pytest.approx(record.gpu_seconds)
        assert told.cost_per_gpu_hour_usd == record.usd_per_hour
    assert use.attempts[1].phase_gpu_seconds["starting"] == pytest.approx(5.0, abs=0.5)
    assert use.attempts[1].phase_gpu_seconds["denoising"] >= 10.0


async def test_the_ledger_learns_what_a_run_took_and_whether_it_counts(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0, load_seconds=5.0)) as house:
        first = await house.finished(await house.create(prompt="a secret", num_frames=9))
        second = await house.finished(await house.create(prompt="a secret", num_frames=9))
    cold, warm = (measurements_to_proto(render).measurements[0] for render in (first, second))
    assert (cold.is_first_run, warm.is_first_run) == (True, False)
    assert cold.cold_start_ms == pytest.approx(5000, abs=500)
    assert not warm.HasField("cold_start_ms")
    assert warm.outcome == "succeeded"
    assert warm.source == "organic"
    assert warm.phase_ms == {"encoding": 10, "denoising": 20, "decoding": 30, "muxing": 4, "storing": 5}
    assert warm.model_ms == 60
    assert warm.run_ms == pytest.approx(1000 * second.gpu_seconds, abs=1)
    assert cold.run_ms == pytest.approx(1000 * first.gpu_seconds - 5000, abs=500)
    assert (warm.peak_allocated_bytes, warm.peak_reserved_bytes) == (1000, 2000)
    assert warm.software == {"engine": "scripted"}
    assert warm.shape["num_frames"] == 9
    assert "a secret" not in str(warm)


async def test_a_lost_worker_and_a_failure_are_measurements_with_their_reasons(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        await house.workers.kill(running.runtime_id)
        house.workers.render_failure = Failure("OUT_OF_MEMORY", "too little memory")
        ended = await house.finished(render)
    lost, failed = measurements_to_proto(ended).measurements
    assert (lost.outcome, lost.reason, lost.failed_phase) == ("lost", "WORKER_LOST", "denoising")
    assert (failed.outcome, failed.reason) == ("failed", "OUT_OF_MEMORY")
    assert not failed.HasField("run_ms")
    assert {lost.id, failed.id} == {measurement_id(render.id, 1), measurement_id(render.id, 2)}
    assert render.id not in str([lost, failed])


async def test_what_somebody_stopped_says_nothing_of_its_target_and_is_billed_as_used(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        canceled = await house.create()
        await house.until(canceled, at_step(1))
        await house.cancel(canceled)
        canceled = await house.finished(canceled)
        deadline = house.clock.now() + timedelta(seconds=15)
        late = await house.finished(await house.create(deadline=deadline.isoformat()))
    assert measurements_to_proto(canceled).measurements == []
    assert [attempt.outcome for attempt in use_to_proto(canceled).attempts] == ["canceled"]
    assert canceled.microdollars == pytest.approx(1e6 * canceled.gpu_seconds * 1.8 / 3600, abs=1)
    assert (late.status, late.error.reason) == (RenderStatus.FAILED, "DEADLINE_EXCEEDED")
    assert measurements_to_proto(late).measurements == []
