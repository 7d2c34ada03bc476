"""The chart of a render's phases and attempts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.web.domain.timeline import Timeline, timeline_of

BEGIN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def an_attempt(
    number: int, begins: float, ends: float | None, outcome: str = "succeeded", **given: Any
) -> dict[str, Any]:
    facts = {
        "attempt": number,
        "target": {"gpu_type": "H200", "region": "eu-north2", "simulated": False},
        "started_at": at(begins),
        "outcome": outcome,
        "message": "",
        "resumed_steps": 0,
        "phase_gpu_seconds": {},
    }
    return facts | ({} if ends is None else {"ended_at": at(ends)}) | given


def a_render(status: str = "succeeded", attempts: Sequence[dict[str, Any]] = (), **given: Any) -> dict[str, Any]:
    return {"id": "rnd_1", "status": status, "created_at": at(0), "attempts": list(attempts)} | given


def an_event(seconds: float, status: str, phase: str, attempt: int) -> dict[str, Any]:
    return {"at": at(seconds), "status": status, "phase": phase, "attempt": attempt}


ONE_GO = (
    an_event(0, "queued", "queued", 0),
    an_event(1, "running", "starting", 1),
    an_event(3, "running", "encoding", 1),
    an_event(4, "running", "denoising", 1),
    an_event(6, "running", "denoising", 1),
    an_event(8, "running", "decoding", 1),
    an_event(9, "running", "muxing", 1),
    an_event(9.5, "running", "storing", 1),
    an_event(10, "succeeded", "done", 1),
)


def bars(timeline: Timeline) -> list[tuple[int, str, float]]:
    return [(lane.attempt, bar.name, round(bar.seconds, 3)) for lane in timeline.lanes for bar in lane.bars]


def drawn(render: dict[str, Any], events: Sequence[dict[str, Any]] = (), now: float = 100) -> Timeline:
    return timeline_of(render, events, BEGIN + timedelta(seconds=now))


def test_the_log_says_what_took_how_long() -> None:
    timeline = drawn(a_render(attempts=[an_attempt(1, 1, 10)]), ONE_GO)

    assert bars(timeline) == [
        (1, "queue", 1),
        (1, "cold start", 2),
        (1, "encode", 1),
        (1, "denoise", 4),
        (1, "decode", 1),
        (1, "mux", 0.5),
        (1, "store", 0.5),
    ]
    assert timeline.seconds == 10
    assert not timeline.goes_on


def test_bars_are_to_scale_and_next_to_each_other() -> None:
    (lane,) = drawn(a_render(attempts=[an_attempt(1, 1, 10)]), ONE_GO).lanes

    assert [bar.x for bar in lane.bars] == [0, 10, 30, 40, 80, 90, 95]
    assert [bar.width for bar in lane.bars] == [10, 20, 10, 40, 10, 5, 5]


def test_what_took_next_to_nothing_can_still_be_seen_and_stays_on_the_chart() -> None:
    events = (
        an_event(0, "running", "denoising", 1),
        an_event(9.999, "running", "storing", 1),
        an_event(10, "succeeded", "done", 1),
    )
    (lane,) = drawn(a_render(attempts=[an_attempt(1, 0, 10)]), events).lanes

    last = lane.bars[-1]
    assert last.width >= 0.4
    assert last.x + last.width <= 100


def test_phases_follow_from_the_attempts_where_there_is_no_log() -> None:
    held = {"denoising": 5.0, "starting": 2.0, "decoding": 1.0}
    timeline = drawn(a_render(attempts=[an_attempt(1, 1, 9, phase_gpu_seconds=held)]))

    assert bars(timeline) == [(1, "queue", 1), (1, "cold start", 2), (1, "denoise", 5), (1, "decode", 1)]


@pytest.mark.parametrize("has_log", [True, False])
def test_each_attempt_has_a_lane_with_the_wait_before_it(has_log: bool) -> None:
    attempts = [
        an_attempt(1, 1, 5, "lost", message="the worker was lost", phase_gpu_seconds={"denoising": 4.0}),
        an_attempt(2, 6, 10, resumed_steps=12, phase_gpu_seconds={"denoising": 4.0}),
    ]
    log = (
        an_event(0, "queued", "queued", 0),
        an_event(1, "running", "denoising", 1),
        an_event(5, "queued", "queued", 1),
        an_event(6, "running", "denoising", 2),
        an_event(10, "succeeded", "done", 2),
    )
    timeline = drawn(a_render(attempts=attempts), log if has_log else ())

    assert bars(timeline) == [(1, "queue", 1), (1, "denoise", 4), (2, "queue", 1), (2, "denoise", 4)]


def test_a_lost_worker_and_the_checkpoint_that_the_next_one_went_on_from_are_marked() -> None:
    attempts = [
        an_attempt(1, 1, 5, "lost", message="the worker was lost"),
        an_attempt(2, 6, 10, resumed_steps=12),
    ]
    log = (
        an_event(0, "queued", "queued", 0),
        an_event(1, "running", "denoising", 1),
        an_event(5, "queued", "queued", 1),
        an_event(6, "running", "encoding", 2),
        an_event(7, "running", "denoising", 2),
        an_event(10, "succeeded", "done", 2),
    )
    first, second = drawn(a_render(attempts=attempts), log).lanes

    assert [(mark.kind, mark.text, mark.offset_seconds, mark.x) for mark in first.marks] == [
        ("lost", "the worker was lost", 5, 50)
    ]
    assert [(mark.kind, mark.text, mark.x) for mark in second.marks] == [
        ("resumed", "went on from step 12 of a checkpoint", 70)
    ]


@pytest.mark.parametrize("has_log", [True, False])
def test_a_pause_belongs_to_the_attempt_that_paused(has_log: bool) -> None:
    attempts = [an_attempt(1, 0, 4, "paused", message="paused as asked", phase_gpu_seconds={"denoising": 4.0})]
    log = (an_event(0, "running", "denoising", 1), an_event(4, "paused", "denoising", 1))
    timeline = drawn(a_render("paused", attempts), log if has_log else (), now=6)

    assert bars(timeline)[-1] == (1, "pause", 2)
    assert timeline.lanes[0].bars[-1].goes_on
    assert timeline.goes_on
    assert timeline.lanes[0].marks[0].text == "paused as asked"


def test_a_wait_much_longer_than_the_work_is_drawn_shorter_and_says_so() -> None:
    log = (
        an_event(0, "running", "denoising", 1),
        an_event(5, "paused", "denoising", 1),
        an_event(36_005, "queued", "queued", 1),
        an_event(36_006, "running", "denoising", 2),
        an_event(36_011, "succeeded", "done", 2),
    )
    attempts = [an_attempt(1, 0, 5, "paused"), an_attempt(2, 36_006, 36_011)]
    timeline = drawn(a_render(attempts=attempts), log)

    pause = timeline.lanes[0].bars[-1]
    assert pause.is_cut
    assert pause.seconds == 36_000
    assert pause.width < 40
    assert timeline.has_cuts
    assert timeline.lanes[1].bars[-1].width > 25
    assert len(timeline.ticks) <= 8


def test_what_goes_on_reaches_to_now() -> None:
    log = (an_event(0, "queued", "queued", 0), an_event(1, "running", "denoising", 1))
    timeline = drawn(a_render("running", [an_attempt(1, 1, None, "running")]), log, now=5)

    assert bars(timeline) == [(1, "queue", 1), (1, "denoise", 4)]
    assert timeline.lanes[0].bars[-1].goes_on
    assert timeline.lanes[0].marks == ()


def test_a_render_that_waits_for_its_first_attempt_has_a_lane_for_it() -> None:
    timeline = drawn(a_render("queued"), [an_event(0, "queued", "queued", 0)], now=3)

    assert bars(timeline) == [(1, "queue", 3)]
    assert timeline.lanes[0].outcome == ""


def test_a_clock_that_went_backwards_makes_no_negative_bars() -> None:
    log = (
        an_event(0, "queued", "queued", 0),
        an_event(2, "running", "denoising", 1),
        an_event(1, "running", "decoding", 1),
        an_event(4, "succeeded", "done", 1),
    )
    timeline = drawn(a_render(attempts=[an_attempt(1, 2, 4)]), log)

    assert all(bar.seconds >= 0 and 0 <= bar.x <= 100 for lane in timeline.lanes for bar in lane.bars)


@pytest.mark.parametrize("seconds", [0.004, 0.3, 1, 7, 59, 300, 4000, 90_000])
def test_the_axis_names_some_round_times(seconds: float) -> None:
    log = (an_event(0, "running", "denoising", 1), an_event(seconds, "succeeded", "done", 1))
    ticks = drawn(a_render(attempts=[an_attempt(1, 0, seconds)]), log).ticks

    assert ticks[0].x == 0
    assert ticks[0].text == "0 s"
    assert 3 <= len(ticks) <= 7
    assert [tick.x for tick in ticks] == sorted(tick.x for tick in ticks)
    assert len({tick.text for tick in ticks}) == len(ticks)


def test_the_legend_names_the_phases_that_occur_in_the_order_of_work() -> None:
    timeline = drawn(a_render(attempts=[an_attempt(1, 1, 10)]), ONE_GO)

    assert [name for _, name in timeline.phases] == [
        "queue",
        "cold start",
        "encode",
        "denoise",
        "decode",
        "mux",
        "store",
    ]
