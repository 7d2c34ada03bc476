"""Performance tables over a real ledger: fleet, prices and measurements brought together."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.catalog.adapters.sql_ledger import SqlLedger
from services.catalog.domain import Model, ModelNotFound, Pin, RouteTarget, VersionNotFound
from services.catalog.domain.measurements import Measurement
from services.catalog.domain.reliability import Demands
from services.catalog.domain.rows import PricePerHour
from services.catalog.usecases import Catalog
from services.catalog.usecases.ledger import LedgerBook
from services.catalog.usecases.performance import Performance
from services.chassis.errors import InvalidInput, ServiceUnavailable
from services.chassis.known import UnknownTarget
from tests.unit.catalog.measuring_bench import (
    NOON,
    WAN,
    WAN_VERSION,
    StandingClock,
    a_failure,
    a_measurement,
    opened_ledger,
)

ANY = Pin(None, None)
SVD = "stabilityai-stable-video-diffusion"


class RealFleet:
    """Real devices, and one that is imitated."""

    async def targets(self) -> tuple[RouteTarget, ...]:
        return (
            RouteTarget("B200", "us-central1", simulated=True, total_slots=1, free_slots=1),
            RouteTarget("H200", "eu-north2", simulated=False, total_slots=2, free_slots=1),
            RouteTarget("L40S", "eu-north1", simulated=False, total_slots=1, free_slots=0),
        )


class SilentFleet:
    """A fleet that nobody can ask."""

    async def targets(self) -> tuple[RouteTarget, ...]:
        raise ServiceUnavailable("scheduler")


class ListedPrices:
    """Two prices."""

    async def per_hour(self) -> PricePerHour:
        return {("H200", "eu-north2"): 4.5, ("L40S", "eu-north1"): 1.82}


@dataclass(frozen=True)
class Bench:
    """A catalogue with a ledger, and the same one while its fleet cannot be asked."""

    performance: Performance
    blind: Performance
    book: LedgerBook


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with opened_ledger(tmp_path) as opened:
        yield opened


@pytest.fixture
def bench(shipped_models: tuple[Model, ...], ledger: SqlLedger) -> Bench:
    def performance_with(fleet: RealFleet | SilentFleet) -> Performance:
        catalog = Catalog(shipped_models, fleet)
        return Performance(catalog, fleet, ledger, ListedPrices(), StandingClock(), Demands())

    book = LedgerBook(Catalog(shipped_models, RealFleet()), RealFleet(), ledger)
    return Bench(performance_with(RealFleet()), performance_with(SilentFleet()), book)


def _everywhere() -> list[Measurement]:
    """Verified on an H200, slower and cheaper on an L40S, and gone from an A100."""
    slow = {"gpu_type": "L40S", "region": "eu-north1", "model_ms": 150_000}
    return [
        *(a_measurement(seconds_ago=60 + number) for number in range(3)),
        *(a_measurement(seconds_ago=60 + number, **slow) for number in range(3)),
        *(a_measurement(seconds_ago=60, gpu_type="A100", region="mars") for _ in range(3)),
        a_failure(seconds_ago=99),
    ]


async def test_a_table_holds_every_target_with_times_money_and_its_status(bench: Bench) -> None:
    await bench.book.record(_everywhere())
    found = await bench.performance.compare(WAN, "", "")
    assert {row.name: row.verdict.status.value for row in found.table.rows} == {
        "A100@mars": "unavailable",
        "B200@us-central1": "pending",
        "H200@eu-north2": "supported",
        "L40S@eu-north1": "supported",
    }
    assert found.baseline is not None
    assert found.table.fastest is not None
    assert found.table.lowest_cost is not None
    assert found.baseline.name == found.table.fastest.name == "H200@eu-north2"
    assert found.table.lowest_cost.name == "L40S@eu-north1"
    assert found.baseline.warm_request_cost_usd == pytest.approx(70 / 3600 * 4.5)
    assert found.baseline.cost_per_output_second_usd == pytest.approx(70 / 3600 * 4.5 / (81 / 16))


async def test_an_unknown_baseline_is_answered_with_the_known_ones(bench: Bench) -> None:
    with pytest.raises(UnknownTarget) as caught:
        await bench.performance.compare(WAN, "", "H200@eu-north1")
    assert [violation.field for violation in caught.value.violations] == ["baseline"]
    assert caught.value.metadata["known"] == "B200@us-central1,H200@eu-north2,L40S@eu-north1"
    assert (await bench.performance.compare(WAN, "", "L40S@eu-north1")).baseline is not None


async def test_a_selection_is_narrowed_and_says_by_what(bench: Bench) -> None:
    await bench.book.record(_everywhere())
    whole = await bench.performance.reliability(WAN, "", ANY)
    assert (whole.filters, len(whole.table.rows)) == ({}, 4)
    assert whole.table.failure_reasons == {"OUT_OF_MEMORY": 1}
    narrow = await bench.performance.reliability(WAN, WAN_VERSION, Pin("L40S", None))
    assert narrow.filters == {"model_version": WAN_VERSION, "gpu_type": "L40S"}
    assert [row.name for row in narrow.table.rows] == ["L40S@eu-north1"]
    assert narrow.baseline is not None
    assert narrow.baseline.name == "H200@eu-north2", "rows are compared as in the whole table"


async def test_a_known_target_without_a_row_is_an_empty_selection_and_an_unknown_one_is_refused(bench: Bench) -> None:
    empty = await bench.performance.reliability(WAN, "", Pin("H200", "uk-south1"))
    assert (empty.table.rows, empty.table.status.value) == ((), "pending")
    with pytest.raises(UnknownTarget) as caught:
        await bench.performance.reliability(WAN, "", Pin("h200", "moon"))
    assert [violation.field for violation in caught.value.violations] == ["gpu_type", "region"]


async def test_while_the_fleet_cannot_be_asked_nothing_is_unavailable_or_unknown(bench: Bench) -> None:
    await bench.book.record(_everywhere())
    found = await bench.blind.reliability(WAN, "", ANY)
    assert {row.name: row.verdict.status.value for row in found.table.rows} == {
        "A100@mars": "supported",
        "H200@eu-north2": "supported",
        "L40S@eu-north1": "supported",
    }
    assert (await bench.blind.reliability(WAN, "", Pin("H2000", None))).table.rows == ()


async def test_published_rows_stay_pending(bench: Bench) -> None:
    found = await bench.performance.reliability(SVD, "", ANY)
    assert found.table.status_counts["pending"] == len(found.table.rows) == 6
    assert found.baseline is not None
    assert (found.baseline.name, found.baseline.source) == ("B200@us-central1", "published")


async def test_models_and_versions_are_checked_first(bench: Bench) -> None:
    for slug, version, error in (("none", "", ModelNotFound), (WAN, "none", VersionNotFound)):
        with pytest.raises(error):
            await bench.performance.reliability(slug, version, Pin("H2000", None))
        with pytest.raises(error):
            await bench.performance.compare(slug, version, "x")
        with pytest.raises(error):
            await bench.performance.measurements(slug, version, ANY, page_size=-1)
        with pytest.raises(error):
            await bench.book.cost_basis(slug, version, {})


async def test_measurements_are_listed_in_pages_that_join(bench: Bench) -> None:
    await bench.book.record(_everywhere())
    found: list[Measurement] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await bench.performance.measurements(WAN, "", ANY, page_size=3, page_token=token)
        found, token, pages = [*found, *page.measurements], page.next_page_token, pages + 1
    assert (len(found), pages) == (10, 4)
    assert found == sorted(found, key=lambda each: (each.measured_at, each.id), reverse=True)


@pytest.mark.parametrize("token", ["?", "YWZ0ZXI6eA==", "YWZ0ZXI6MjAyNi0xMS0yMFQxMjowMDowMCB4"])
async def test_a_wrong_page_size_and_a_foreign_token_are_told_at_once(bench: Bench, token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await bench.performance.measurements(WAN, "", ANY, page_size=101, page_token=token)
    assert [violation.field for violation in caught.value.violations] == ["page_size", "page_token"]


async def test_measurements_that_cannot_be_kept_are_refused_with_every_fault_and_none_is_kept(bench: Bench) -> None:
    wrong = replace(a_measurement(), id="", outcome="slept", source="", measured_at=NOON.fromtimestamp(0, NOON.tzinfo))
    with pytest.raises(InvalidInput) as caught:
        await bench.book.record([a_measurement(), wrong])
    assert [violation.field for violation in caught.value.violations] == [
        f"measurements[1].{field}" for field in ("id", "measured_at", "outcome", "source")
    ]
    assert (await bench.performance.measurements(WAN, "", ANY)).measurements == ()


async def test_what_was_measured_of_a_version_that_has_gone_is_kept(bench: Bench, ledger: SqlLedger) -> None:
    await bench.book.record([a_measurement(model_version="gone"), a_measurement(slug="gone")])
    assert len(await ledger.page(WAN, "gone", ANY, after=None, size=9)) == 1
    assert len(await ledger.page("gone", WAN_VERSION, ANY, after=None, size=9)) == 1


async def test_an_estimate_rests_on_whole_runs_of_any_inputs_real_and_imitated(bench: Bench) -> None:
    imitated = {"gpu_type": "B200", "region": "us-central1", "simulated": True}
    await bench.book.record(
        [
            a_measurement(shape={"num_frames": 41}, cold_start_ms=9_000),
            a_measurement(is_first_run=True),
            a_measurement(is_resumed=True),
            a_failure(),
            a_measurement(**imitated),
        ]
    )
    basis = await bench.book.cost_basis(WAN, "", {"num_inference_steps": 100.0, "num_frames": 81.0, "fps": 8})
    assert (basis.amounts.parts[1], basis.amounts.memory) == (2, 1)
    assert basis.amounts.output_seconds == 81 / 8
    by_name = {history.target.name: history for history in basis.targets}
    assert {name: len(history.samples) for name, history in by_name.items()} == {
        "B200@us-central1": 1,
        "H200@eu-north2": 1,
        "L40S@eu-north1": 0,
    }
    assert by_name["B200@us-central1"].target.spot.simulated
    (sample,) = by_name["H200@eu-north2"].samples
    assert sample.amounts.parts[1:3] == pytest.approx((11 / 21, (11 / 21) ** 2))
    assert by_name["H200@eu-north2"].cold_starts_ms == (9_000,)


async def test_without_inputs_the_basis_is_that_of_the_example(bench: Bench) -> None:
    basis = await bench.book.cost_basis(WAN, "", None)
    assert set(basis.amounts.parts) == {1.0}
    assert basis.vram_floor_gib == 20


async def test_inputs_without_work_are_refused_and_runs_of_such_are_left_out(bench: Bench) -> None:
    await bench.book.record([a_measurement(shape={"width": "wide"}), a_measurement(run_ms=None), a_measurement()])
    basis = await bench.book.cost_basis(WAN, "", None)
    assert [len(history.samples) for history in basis.targets if history.target.spot.gpu_type == "H200"] == [1]
    with pytest.raises(InvalidInput, match="input: its work cannot be told"):
        await bench.book.cost_basis(WAN, "", {"width": "wide"})
