"""How far a render is, in words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.web.domain import progress
from services.web.domain.event_lines import lines_of


def a_snapshot(status: str = "running", phase: str = "denoising", **given: Any) -> dict[str, Any]:
    return {"status": status, "phase": phase, "progress": {"done_steps": 12, "total_steps": 40} | given}


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (a_snapshot(), "step 12 of 40"),
        (a_snapshot(eta_seconds_p50=48, eta_seconds_p90=150), "step 12 of 40 · 0.8–2.5 min left"),
        (a_snapshot("queued", "queued", queue_position=1), "next in the queue"),
        (a_snapshot("queued", "queued", queue_position=7, eta_seconds_p50=20), "place 7 in the queue · 20 s left"),
        (a_snapshot("queued", "queued"), "waits"),
        (a_snapshot(phase="starting"), "starting a runtime"),
        (a_snapshot(phase="denoising", total_steps=0), "denoising"),
        (a_snapshot(phase="decoding", eta_seconds_p50=3, eta_seconds_p90=4), "decoding frames · 3.0–4.0 s left"),
        (a_snapshot("paused"), "paused after step 12 of 40"),
        (a_snapshot("canceling"), "stopping"),
        (a_snapshot("succeeded", "done"), "done"),
    ],
)
def test_how_far_a_render_is(snapshot: dict[str, Any], words: str) -> None:
    assert progress.progress_text(snapshot) == words


@pytest.mark.parametrize(
    ("p50", "p90", "words"),
    [
        (None, None, ""),
        (0.2, 0.4, "less than 1 s left"),
        (2.0, None, "2.0 s left"),
        (None, 12.0, "12 s left"),
        (20.1, 20.4, "20 s left"),
        (9000, 3600, "2.5 h left"),
    ],
)
def test_the_time_left_is_a_range_as_far_as_it_is_known(p50: float | None, p90: float | None, words: str) -> None:
    assert progress.time_left(p50, p90) == words


def test_a_reason_that_nothing_is_known_of_may_still_be_worth_another_try() -> None:
    assert progress.remedy({"reason": "NEW", "message": "?", "retry": True}).startswith("The same request may succeed")
    assert progress.remedy({"reason": "NEW", "message": "?"}) == ""
    assert progress.remedy(None) == ""


def test_a_render_has_taken_the_time_since_it_was_accepted_until_it_ends() -> None:
    now = datetime(2026, 11, 27, 12, 1, tzinfo=UTC)
    going: dict[str, Any] = {"status": "running", "created_at": "2026-11-27T12:00:00Z", "timing": {}}

    assert progress.took_seconds(going, now) == 60
    assert progress.took_seconds(going | {"status": "failed", "ended_at": "2026-11-27T12:00:20Z"}, now) == 20
    assert progress.took_seconds(going | {"status": "succeeded", "timing": {"total_ms": 1500}}, now) == 1.5


def an_event(seq: int, step: int, preview: str = "", attempt: int = 1) -> dict[str, Any]:
    return {"seq": seq, "attempt": attempt, "message": f"step {step} of 40", "preview_url": preview} | a_snapshot(
        done_steps=step
    )


def test_a_picture_is_shown_once_and_of_one_step_the_newest() -> None:
    events = [an_event(1, 1, "/p/1"), an_event(2, 2, "/p/1"), an_event(3, 2, "/p/3"), an_event(4, 2, "/p/4")]

    assert [frame["address"] for frame in progress.frames(events)] == ["/p/1", "/p/4"]


def test_of_many_pictures_some_are_shown_the_first_and_the_last_among_them() -> None:
    found = progress.frames([an_event(step, step, f"/p/{step}") for step in range(1, 51)], most=5)

    assert [frame["text"] for frame in found] == [f"step {step} of 40" for step in (1, 13, 25, 38, 50)]


def test_a_long_run_is_folded_between_its_ends_and_nothing_is_lost() -> None:
    events = [an_event(step, step) for step in range(1, 10)] + [an_event(10, 4, attempt=2)]
    lines = lines_of(events)

    assert [event["seq"] for line in lines for event in line.events] == list(range(1, 11))
    assert [line.text for line in lines if line.is_folded] == ["step 2 of 40 … step 8 of 40"]
    assert [len(line.events) for line in lines] == [1, 7, 1, 1]


def test_a_short_run_is_not_folded() -> None:
    assert not any(line.is_folded for line in lines_of([an_event(step, step) for step in range(1, 7)]))
