"""What a worker says of an attempt, as changes of its render."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.scheduler.domain.facts import Output, Phase, Progress
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import Lease
from services.scheduler.ports import AttemptMoment, Made
from services.scheduler.usecases.moments import progressed, succeeded

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DENOISING = AttemptMoment(1, Phase.DENOISING, 0, 6, 0.0, None, None, "step")
VIDEO = Output("k", "video/mp4", 5, "ff", 64, 64, 24, 12.0)


def running(a_render, **changes):
    lease = Lease("rt_1", Target("H200", "eu-north2"), False, NOON, "it was free")
    return replace(a_render(**changes).leased(lease, NOON), last_seq=7)


def resumed_steps(render):
    return render.attempts[-1].resumed_steps


def test_progress_is_what_the_worker_said_last(a_render):
    moment = replace(DENOISING, seq=4, done_steps=2, fraction=0.3, eta_seconds_p50=5.0, eta_seconds_p90=9.0)
    after = progressed(running(a_render), moment, NOON)
    assert after.progress == Progress(2, 6, 0.3, None, 5.0, 9.0, None)
    assert (after.phase, after.worker_seq) == (Phase.DENOISING, 4)


def test_a_checkpoint_is_kept_until_there_is_a_newer_one(a_render):
    render = progressed(running(a_render), replace(DENOISING, checkpoint_key="one"), NOON)
    assert progressed(render, DENOISING, NOON).checkpoint_key == "one"
    assert progressed(render, replace(DENOISING, checkpoint_key="two"), NOON).checkpoint_key == "two"


def test_a_new_preview_is_named_by_the_event_that_tells_of_it_first(a_render):
    first = progressed(running(a_render), replace(DENOISING, preview_key="one"), NOON)
    assert (first.preview_key, first.preview_seq) == ("one", 8)
    later = replace(first, last_seq=8)
    assert progressed(later, replace(DENOISING, preview_key="one"), NOON).preview_seq == 8
    assert progressed(later, replace(DENOISING, preview_key="two"), NOON).preview_seq == 9


def test_the_first_frames_are_timed_once(a_render):
    moment = replace(DENOISING, pieces=1, playable_seconds=1.5)
    first = progressed(running(a_render), moment, NOON + timedelta(seconds=9))
    assert (first.timing.first_frames_ms, first.pieces, first.progress.playable_seconds) == (9000, 1, 1.5)
    again = progressed(first, replace(moment, pieces=2), NOON + timedelta(seconds=20))
    assert (again.timing.first_frames_ms, again.pieces) == (9000, 2)


def test_steps_that_are_there_when_denoising_begins_came_from_the_checkpoint(a_render):
    with_checkpoint = running(a_render, checkpoint_key="earlier")
    assert resumed_steps(progressed(with_checkpoint, replace(DENOISING, done_steps=3), NOON)) == 3
    without = running(a_render)
    assert resumed_steps(progressed(without, replace(DENOISING, done_steps=3), NOON)) == 0


def test_later_steps_are_not_taken_for_those_of_a_checkpoint(a_render):
    render = progressed(running(a_render, checkpoint_key="earlier"), replace(DENOISING, done_steps=3), NOON)
    decoding = progressed(render, replace(DENOISING, phase=Phase.DECODING, done_steps=6), NOON)
    assert resumed_steps(progressed(decoding, replace(DENOISING, done_steps=6), NOON)) == 3


def test_a_video_that_is_ready_is_all_done_and_needs_no_checkpoint_any_more(a_render):
    render = running(a_render, warnings=("asked for",), checkpoint_key="earlier")
    made = Made(VIDEO, {"encoding": 1, "denoising": 20, "decoding": 3, "muxing": 4, "packing": 9}, ("made",), "causal")
    changes = succeeded(render, replace(DENOISING, seq=9, pieces=3, playable_seconds=2.0), made, NOON)
    assert changes["progress"] == Progress(6, 6, 1.0, playable_seconds=2.0)
    assert (changes["checkpoint_key"], changes["warnings"], changes["mode"]) == ("", ("asked for", "made"), "causal")
    assert (changes["timing"].model_ms, changes["timing"].mux_ms, changes["timing"].store_ms) == (24, 4, None)
    assert (changes["pieces"], changes["worker_seq"]) == (3, 9)


def test_pieces_that_do_not_make_up_the_whole_video_are_not_offered_after_the_end(a_render):
    changes = succeeded(running(a_render), replace(DENOISING, pieces=3, playable_seconds=1.5), Made(VIDEO, {}), NOON)
    assert changes["pieces"] == 0
