"""Receipts on a real SQLite file."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing_estimate.__main__ import MIGRATIONS
from services.billing_estimate.adapters.sql_receipts import SqlReceiptStore
from services.billing_estimate.domain.calibration import NEWEST_RENDERS, Calibration, Outcome
from services.billing_estimate.domain.prices import Price
from services.billing_estimate.domain.receipts import AttemptUse, Receipt, RenderUse
from services.billing_estimate.domain.targets import Target
from services.billing_estimate.domain.usage import Period, Usage
from services.billing_estimate.usecases.receipts import Receipts
from services.chassis.clock import SystemClock
from services.chassis.storage import sqlite_database

H200 = Target("H200", "eu-north2")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = Period(date(2026, 1, 1), date(2027, 12, 31))


async def _use(store: SqlReceiptStore, period: Period = EVER, **only: str | None) -> Usage:
    return await store.usage("acme", period, slug=only.get("slug"), api_key_id=only.get("api_key_id"))


async def _receipt(store: SqlReceiptStore, render_id: str = "rnd_1") -> Receipt:
    found = await store.receipt("acme", render_id)
    assert found is not None
    return found


async def test_a_receipt_is_the_same_after_a_restart(open_store, a_render, an_attempt) -> None:
    odd = an_attempt(started_at=NOON + timedelta(microseconds=1), simulated=True, resumed_steps=2)
    async with open_store() as store:
        assert await store.record(a_render(), [odd], []) is not None
        before = await _receipt(store)
    async with open_store() as store:
        after = await _receipt(store)
    assert after == before
    assert after.render == a_render()
    assert after.charges[0].started_at == odd.started_at


async def test_another_account_has_no_receipt_of_it(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        await store.record(a_render(), [an_attempt()], [])
        assert await store.receipt("other", "rnd_1") is None
        assert await store.receipt("acme", "rnd_2") is None


async def test_the_record_with_the_higher_number_counts(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        await store.record(a_render(seq=5, status="running", is_final=False), [an_attempt()], [])
        await store.record(a_render(seq=4, status="queued", is_final=False), [], [])
        assert (await _receipt(store)).render.status == "running"
        await store.record(a_render(seq=6), [an_attempt()], [])
        assert (await _receipt(store)).render.status == "succeeded"


async def test_recording_again_bills_nothing_twice(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        for seq in (7, 7, 8, 9):
            await store.record(a_render(seq=seq, is_final=seq == 9), [an_attempt()], [])
        assert len((await _receipt(store)).charges) == 1
        usage = await _use(store)
        assert (usage.rows[0].attempts, usage.cost_micro_usd) == (1, 13_750)


async def test_an_attempt_on_record_keeps_its_price_and_its_amounts(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        await store.record(a_render(seq=1, is_final=False), [an_attempt()], [])
        before = (await _receipt(store)).charges
        changed = an_attempt(cost_per_gpu_hour_usd=99.0, phase_gpu_us={"denoising": 1})
        await store.record(a_render(seq=2, is_final=False), [changed, an_attempt(attempt=2)], [])
        after = (await _receipt(store)).charges
        await store.record(a_render(seq=3), [], [])
        assert (await _receipt(store)).charges == after, "an attempt that is told no more stays"
    assert after[:1] == before
    assert [charge.attempt for charge in after] == [1, 2]


async def test_nothing_is_added_to_a_final_receipt(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        await store.record(a_render(), [an_attempt()], [])
        before = await _receipt(store)
        again = await store.record(a_render(seq=99, status="failed"), [an_attempt(), an_attempt(attempt=2)], [])
        assert again is None
        assert await _receipt(store) == before


async def test_a_new_price_changes_no_past_receipt(open_store, a_render, an_attempt) -> None:
    unpriced = an_attempt(cost_per_gpu_hour_usd=None)
    async with open_store() as store:
        await store.record(a_render(seq=1, is_final=False), [unpriced], [Price("H200", "eu-north2", 4.5, "test")])
    async with open_store() as store:
        dearer = [Price("H200", "eu-north2", 45.0, "test")]
        await store.record(a_render(seq=2), [unpriced, replace(unpriced, attempt=2)], dearer)
        receipt = await _receipt(store)
    assert [charge.cost_micro_usd for charge in receipt.charges] == [13_750, 137_500]


async def test_the_price_of_an_attempt_is_told_or_that_of_its_beginning_or_none(
    open_store, a_render, an_attempt
) -> None:
    soon = NOON + timedelta(seconds=5)
    prices = [
        Price("H200", "eu-north2", 3.6, "old", valid_until=soon),
        Price("H200", "eu-north2", 7.2, "new", valid_from=soon),
    ]
    told = an_attempt(attempt=1, cost_per_gpu_hour_usd=1.8)
    looked_up = an_attempt(attempt=2, cost_per_gpu_hour_usd=None)
    elsewhere = an_attempt(attempt=3, cost_per_gpu_hour_usd=None, target=Target("H100", "eu-north1"))
    async with open_store() as store:
        await store.record(a_render(), [told, looked_up, elsewhere], prices)
        receipt = await _receipt(store)
    assert [charge.cost_per_gpu_hour_usd for charge in receipt.charges] == [1.8, 3.6, None]
    assert receipt.cost_micro_usd == 5_500 + 11_000


async def test_an_attempt_belongs_to_the_day_in_utc_it_ended_on(open_store, a_render, an_attempt) -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    async with open_store() as store:
        attempts = [
            an_attempt(attempt=1, ended_at=midnight - timedelta(microseconds=1)),
            an_attempt(attempt=2, ended_at=midnight),
        ]
        await store.record(a_render(), attempts, [])
        usage = await _use(store)
        assert [(row.day.isoformat(), row.renders) for row in usage.rows] == [("2026-11-21", 1), ("2026-11-20", 1)]
        assert usage.renders == 1, "one render, on two days"
        first = await _use(store, Period(date(2026, 11, 20), date(2026, 11, 20)))
        assert [row.day.isoformat() for row in first.rows] == ["2026-11-20"]


async def test_usage_is_that_of_the_account_and_can_be_narrowed(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        for name, changes in (
            ("a", {}),
            ("b", {"api_key_id": "key_2"}),
            ("c", {"slug": "other-model"}),
            ("d", {"account": "other"}),
        ):
            await store.record(a_render(render_id=name, **changes), [an_attempt()], [])
        assert (await _use(store)).renders == 3
        assert [row.api_key_id for row in (await _use(store, api_key_id="key_2")).rows] == ["key_2"]
        assert [row.slug for row in (await _use(store, slug="other-model")).rows] == ["other-model"]
        assert (await _use(store, slug="none")).rows == []


async def test_only_the_newest_outcomes_of_a_target_are_kept(open_store, a_render, an_attempt) -> None:
    async with open_store() as store:
        for number in range(NEWEST_RENDERS + 5):
            ended_at = NOON + timedelta(minutes=number)
            attempt = an_attempt(ended_at=ended_at, phase_gpu_us={"denoising": 1_000_000 + number})
            await store.record(a_render(render_id=f"rnd_{number}"), [attempt], [])
        outcomes = await store.outcomes("a-model", "v1")
        assert await store.outcomes("a-model", "v2") == []
    assert len(outcomes) == NEWEST_RENDERS
    assert min(outcome.ended_at for outcome in outcomes) == NOON + timedelta(minutes=5)


class _Noticed:
    """Meters that remember."""

    def __init__(self) -> None:
        self.errors: list[tuple[float, bool]] = []
        self.calibrations: list[Calibration] = []

    def estimate_was_off(self, outcome: Outcome, *, simulated: bool) -> None:
        self.errors.append((round(outcome.error, 6), simulated))

    def calibrated(self, calibration: Calibration) -> None:
        self.calibrations.append(calibration)


class _NoPrices:
    def prices(self) -> tuple[Price, ...]:
        return ()


async def test_the_error_of_an_estimate_is_metered_once_when_its_render_is_final(
    open_store, a_render, an_attempt
) -> None:
    meters = _Noticed()
    async with open_store() as store:
        receipts = Receipts(store=store, price_book=_NoPrices(), meters=meters, clock=SystemClock())
        await receipts.record(a_render(seq=1, is_final=False), [an_attempt()])
        for _ in range(2):
            await receipts.record(a_render(seq=2), [an_attempt()])
        await receipts.record(a_render(render_id="rnd_2", status="canceled"), [an_attempt()])
    assert meters.errors == [(0.1, False)]
    assert [calibration.sample_count for calibration in meters.calibrations] == [1, 1]


phases = st.dictionaries(st.sampled_from(["starting", "denoising", "decoding"]), st.integers(0, 10**10))
attempts = st.tuples(phases, st.none() | st.integers(0, 10**8).map(lambda micro: micro / 1e6), st.integers(0, 3))
renders = st.tuples(st.sampled_from(["key_1", "key_2"]), st.sampled_from(["v1", "v2"]), st.lists(attempts, max_size=3))


@settings(max_examples=25)
@given(st.lists(renders, max_size=6))
def test_usage_is_the_sum_of_the_receipts_to_the_last_millionth(asked: list[Any]) -> None:
    async def check() -> None:
        with TemporaryDirectory() as folder:
            async with sqlite_database(Path(folder) / "b.sqlite3", MIGRATIONS) as database:
                await _check_sums(SqlReceiptStore(database), asked)

    asyncio.run(check())


async def _check_sums(store: SqlReceiptStore, asked: list[Any]) -> None:
    receipts: list[Receipt] = []
    for number, (key, version, tried) in enumerate(asked):
        render = RenderUse(f"rnd_{number}", 1, "acme", key, "a-model", version, "succeeded", True, NOON)
        uses = [
            AttemptUse(place, H200, False, NOON, NOON + timedelta(days=day), "lost", gpu_us, price)
            for place, (gpu_us, price, day) in enumerate(tried, 1)
        ]
        await store.record(render, uses, [])
        receipts.append(await _receipt(store, render.render_id))
    usage = await _use(store)
    costs: Counter[tuple[str, str]] = Counter()
    for receipt in receipts:
        costs[receipt.render.api_key_id, receipt.render.version] += receipt.cost_micro_usd or 0
        lines = [phase for charge in receipt.charges for phase in charge.phases]
        assert sum(line.gpu_us for line in lines) == receipt.gpu_us
        if all(charge.phases for charge in receipt.charges):
            assert sum(line.cost_micro_usd or 0 for line in lines) == (receipt.cost_micro_usd or 0)
    told: Counter[tuple[str, str]] = Counter()
    for row in usage.rows:
        told[row.api_key_id, row.version] += row.cost_micro_usd
    assert +told == +costs
    assert usage.gpu_us == sum(receipt.gpu_us for receipt in receipts)
    assert usage.renders == sum(bool(receipt.charges) for receipt in receipts)
    assert sum(row.attempts for row in usage.rows) == sum(len(receipt.charges) for receipt in receipts)
