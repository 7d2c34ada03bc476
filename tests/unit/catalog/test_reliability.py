"""When a version counts as verified on a target, and what is said of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.catalog.domain import PublishedFigure, RouteTarget
from services.catalog.domain.measurements import History, Measurement
from services.catalog.domain.reliability import Demands, Status, Verdict, ago, verdict
from services.catalog.domain.rows import TargetRow, row_of
from services.catalog.domain.table import Table, relative_speed
from services.catalog.domain.targets import known_targets
from tests.unit.catalog.measuring_bench import HERE, NOON, a_failure, a_measurement

DEMANDS = Demands()


def _history(*runs: Measurement, failures: int = 0, **more: Any) -> History:
    attempts = (*(a_failure(seconds_ago=1) for _ in range(failures)), *runs)
    newest = attempts[0].measured_at if attempts else NOON - timedelta(days=40)
    facts: dict[str, Any] = {"newest_at": newest, "attempts": attempts, "runs": runs, "most_runs": len(runs)}
    return History(HERE, **(facts | more))


def _verdict(history: History | None, *, simulated: bool = False, is_offered: bool | None = True) -> Verdict:
    return verdict(history, simulated=simulated, is_offered=is_offered, now=NOON, demands=DEMANDS)


def _runs(count: int, **more: Any) -> list[Measurement]:
    return [a_measurement(seconds_ago=180 + number, **more) for number in range(count)]


def test_three_fresh_runs_verify_a_target() -> None:
    found = _verdict(_history(*_runs(3)))
    assert found.status is Status.SUPPORTED
    assert found.explanation == "verified: 3 runs of the example, the newest 3 minutes ago"


@pytest.mark.parametrize(
    ("count", "words"), [(2, "2 of 3 runs needed are there"), (1, "1 of 3 runs needed is there"), (0, "0 of 3 runs")]
)
def test_fewer_runs_await_a_probe(count: int, words: str) -> None:
    found = _verdict(_history(*_runs(count)))
    assert found.status is Status.PENDING
    assert found.explanation.startswith("awaiting a probe: ")
    assert words in found.explanation


@pytest.mark.parametrize(
    ("runs", "failures", "status"),
    [
        (3, 2, Status.SUPPORTED),
        (3, 3, Status.FAILED),
        (20, 4, Status.SUPPORTED),
        (20, 5, Status.FAILED),
        (0, 1, Status.FAILED),
        (1, 1, Status.FAILED),
    ],
)
def test_a_target_fails_when_at_most_half_of_the_newest_ten_attempts_succeeded(
    runs: int, failures: int, status: Status
) -> None:
    assert _verdict(_history(*_runs(runs), failures=failures)).status is status


def test_a_failing_target_says_how_often_and_for_what() -> None:
    assert _verdict(_history(failures=1)).explanation == "failing: the only attempt ended with OUT_OF_MEMORY"
    assert _verdict(_history(*_runs(2), failures=3)).explanation == (
        "failing: 3 of the newest 5 attempts did not succeed, mostly for OUT_OF_MEMORY"
    )


def test_an_imitation_is_never_verified_nor_failed() -> None:
    for history in (None, _history(*_runs(9)), _history(failures=9)):
        for is_offered in (True, False, None):
            found = _verdict(history, simulated=True, is_offered=is_offered)
            assert found.status is Status.PENDING
            assert "only imitates it" in found.explanation
    assert _verdict(_history(*_runs(9)), simulated=True).explanation.endswith("9 runs of the example were imitated")


def test_what_was_measured_and_is_not_offered_now_is_unavailable() -> None:
    for history in (_history(*_runs(9)), _history(failures=1)):
        assert _verdict(history, is_offered=False).status is Status.UNAVAILABLE
    assert _verdict(None, is_offered=False).status is Status.PENDING


def test_nothing_is_called_unavailable_while_the_fleet_cannot_be_asked() -> None:
    assert _verdict(_history(*_runs(3)), is_offered=None).status is Status.SUPPORTED
    assert _verdict(None, is_offered=None).explanation.endswith("what the fleet offers is not known now")


def test_what_was_verified_long_ago_is_stale() -> None:
    found = _verdict(_history(most_runs=5, newest_run_at=NOON - timedelta(days=45)))
    assert found.status is Status.STALE
    assert found.explanation == "verified once, but the newest run of the example was 45 days ago"


def test_what_was_verified_with_other_software_is_stale_until_it_is_verified_again() -> None:
    def after(count: int) -> Verdict:
        facts: dict[str, Any] = {"most_runs": 5, "most_other_runs": 5, "newest_run_at": NOON}
        return _verdict(_history(*_runs(count), **facts))

    assert after(1).status is Status.STALE
    assert after(1).explanation == (
        "verified once, but with other weights or software: with these 1 of 3 runs needed is there"
    )
    assert after(3).status is Status.SUPPORTED


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
    ],
)
def test_times_are_told_as_people_do(seconds: float, words: str) -> None:
    assert ago(timedelta(seconds=seconds)) == words


PUBLISHED = PublishedFigure("H200", "eu-north2", "works", 100_000, 30_000, 2.4, 1, "somebody")


def _row(
    *runs: Measurement,
    gpu_type: str = "H200",
    price: float | None = 3.6,
    published: PublishedFigure | None = None,
    simulated: bool = False,
    **more: Any,
) -> TargetRow:
    offer = RouteTarget(gpu_type, "eu-north2", simulated=simulated, total_slots=2, free_slots=1)
    (target,) = known_targets([offer], (), (published,) if published else ())
    history = replace(_history(*runs, **more), spot=target.spot) if runs or more else None
    prices = {} if price is None else {(gpu_type, "eu-north2"): price}
    return row_of(target, history, is_fleet_known=True, prices=prices, output_seconds=5.0, now=NOON, demands=DEMANDS)


def test_a_published_figure_gives_a_time_and_a_cost_but_verifies_nothing() -> None:
    row = _row(published=PUBLISHED)
    assert (row.source, row.request_ms, row.request_ms_p50, row.time_ms) == ("published", 100_000, None, 100_000)
    assert row.verdict.status is Status.PENDING
    assert row.warm_request_cost_usd == pytest.approx(0.1)
    assert row.first_cold_request_cost_usd == pytest.approx(0.13)
    assert row.cost_per_output_second_usd == pytest.approx(0.02)


def test_what_was_measured_here_goes_before_what_was_published() -> None:
    row = _row(a_measurement(model_ms=50_000), a_measurement(model_ms=40_000), published=PUBLISHED)
    assert (row.source, row.request_ms, row.request_ms_p50) == ("measured", 50_000, 40_000)
    assert row.warm_request_cost_usd == pytest.approx(0.04)
    assert row.first_cold_request_cost_usd is None, "a start that others measured says nothing beside runs of ours"


def test_a_measured_start_is_part_of_the_first_cold_request() -> None:
    row = _row(a_measurement(model_ms=50_000), cold_starts_ms=(9_000, 10_000, 99_000))
    assert (row.cold_start_count, row.cold_start_ms) == (3, 10_000)
    assert row.first_cold_request_cost_usd == pytest.approx(0.06)


def test_a_row_without_price_or_time_costs_nothing_known() -> None:
    for row in (_row(a_measurement(), price=None), _row()):
        assert row.warm_request_cost_usd is None
        assert row.first_cold_request_cost_usd is None
        assert row.cost_per_output_second_usd is None


def test_times_of_an_imitation_are_called_simulated() -> None:
    assert _row(*_runs(3, simulated=True), simulated=True).source == "simulated"


def test_peaks_are_the_highest_of_all_runs_and_absent_where_none_was_measured() -> None:
    row = _row(
        a_measurement(peak_allocated_bytes=5.0, peak_reserved_bytes=None), a_measurement(peak_allocated_bytes=7.0)
    )
    assert row.peak_allocated_bytes == 7.0
    assert row.peak_reserved_bytes == 24.0 * 2**30
    assert _row().peak_allocated_bytes is None


def test_the_rate_of_success_is_over_attempts_of_any_input() -> None:
    row = _row(*_runs(3), failures=1)
    assert (row.success_rate, row.failure_reasons) == (0.75, {"OUT_OF_MEMORY": 1})
    assert row.age_seconds == 1
    assert (_row().success_rate, _row().success_rate_bounds, _row().age_seconds) == (None, None, None)


def test_a_lost_worker_without_a_reason_is_counted_as_lost() -> None:
    lost = a_failure(outcome="lost", reason="")
    assert _row(attempts=(lost,)).failure_reasons == {"LOST": 1}


def _table(*rows: TargetRow) -> Table:
    return Table("slug", "version", rows)


def _fast_and_cheap() -> tuple[TargetRow, TargetRow, TargetRow]:
    """One is the fastest, one the cheapest for a request, one the cheapest for an hour."""
    fast = _row(*_runs(3, model_ms=10_000), gpu_type="B300", price=9.0)
    fair = _row(*_runs(3, model_ms=20_000), gpu_type="H100", price=4.0)
    slow = _row(*_runs(3, model_ms=90_000), gpu_type="L40S", price=1.0)
    return fast, fair, slow


def test_the_cheapest_target_is_that_of_the_request_and_not_of_the_hour() -> None:
    table = _table(*_fast_and_cheap())
    assert table.fastest is table.rows[0]
    assert table.lowest_cost is table.rows[1]
    assert table.lowest_cost_per_output_second is table.rows[1]


def test_only_supported_rows_lead_a_table() -> None:
    table = _table(_row(*_runs(2, model_ms=1)), _row(published=PUBLISHED), _row(*_runs(5), simulated=True))
    assert (table.fastest, table.lowest_cost, table.supported) == (None, None, ())


def test_rows_are_compared_with_the_fastest_supported_one_or_the_one_named() -> None:
    fast, fair, slow = _fast_and_cheap()
    unverified = _row(*_runs(1, model_ms=1_000), gpu_type="A")
    table = _table(unverified, fast, fair, slow)
    assert table.baseline("") is fast
    assert relative_speed(slow, table.baseline("")) == pytest.approx(1 / 9)
    assert relative_speed(unverified, table.baseline("")) == 10
    assert relative_speed(fast, table.baseline("H100@eu-north2")) == 2
    assert _table(unverified, _row(published=PUBLISHED)).baseline("") is unverified
    assert _table(_row()).baseline("") is None


def test_a_row_without_a_time_has_no_speed() -> None:
    assert relative_speed(_row(), _row(*_runs(1))) is None
    assert relative_speed(_row(*_runs(1)), _row()) is None
    assert relative_speed(_row(*_runs(1)), None) is None


def test_a_table_is_as_good_as_its_best_row() -> None:
    stale = _row(most_runs=5, newest_run_at=NOON - timedelta(days=45))
    failed, pending, good = _row(failures=1), _row(), _row(*_runs(3))
    assert _table(failed, stale, pending).status is Status.STALE
    assert _table(failed, good).status is Status.SUPPORTED
    assert _table(failed).status is Status.FAILED
    assert _table().status is Status.PENDING
    assert _table(failed, failed, stale).status_counts == {
        "supported": 0,
        "stale": 1,
        "pending": 0,
        "failed": 2,
        "unavailable": 0,
    }


def test_targets_are_those_offered_measured_and_published() -> None:
    figures = [
        PUBLISHED,
        replace(PUBLISHED, gpu_type="H100", region=None, model_ms=None),
        replace(PUBLISHED, gpu_type="B200", region=None),
    ]
    offer = RouteTarget("H100", "uk", simulated=True, total_slots=1, free_slots=0)
    gone = replace(HERE, gpu_type="A100")
    targets = known_targets([offer], [gone, replace(gone, simulated=True)], figures)
    assert [target.name for target in targets] == ["A100@eu-north2", "B200@", "H100@uk", "H200@eu-north2"]
    assert [target.offer for target in targets] == [None, None, offer, None]
    assert [target.spot.simulated for target in targets] == [False, False, True, False]
    assert targets[2].published == (figures[1],), "a figure without a region is for the device wherever it stands"
