"""The moves a render may make, and what it keeps of each attempt."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.facts import Failure, Outcome, Phase, milliseconds
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import (
    ACTIVE,
    FINAL,
    MAX_LOSSES,
    RETRYABLE,
    IllegalMove,
    Lease,
    Render,
    RenderStatus,
    expiry,
    snapshot,
)

FIRST_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATE = Failure("DEADLINE_EXCEEDED", "it did not end before its deadline", retry=True)


def leased(render, *, at=FIRST_NOON + timedelta(seconds=2), **changes):
    lease = Lease("rt_1", Target("H200", "eu-north2"), True, at + timedelta(seconds=30), "it was free", 0.1, 3600.0)
    return render.leased(replace(lease, **changes), at)


@pytest.mark.parametrize("final", sorted(FINAL))
@pytest.mark.parametrize("to", list(RenderStatus))
def test_a_finished_render_never_moves_again(a_render, final, to):
    with pytest.raises(IllegalMove):
        a_render(status=final).moved(to)


def test_the_final_states_are_these_four_and_all_but_success_can_be_retried():
    assert {"succeeded", "failed", "canceled", "expired"} == FINAL
    assert {"failed", "canceled", "expired"} == RETRYABLE


def test_each_lease_raises_the_epoch_and_the_attempt(a_render):
    first = leased(a_render())
    second = leased(first.released(FIRST_NOON, "drained"))
    assert [(r.epoch, r.attempt) for r in (first, second)] == [(1, 1), (2, 2)]
    assert second.started_at == first.started_at
    assert first.timing.queued_ms == 2000
    assert [(r.attempt, r.epoch) for r in second.attempts] == [(1, 1), (2, 2)]


def test_only_a_queued_render_can_be_leased(a_render):
    for status in set(RenderStatus) - {RenderStatus.QUEUED}:
        with pytest.raises(IllegalMove):
            leased(a_render(status=status))


@pytest.mark.parametrize("status", sorted({RenderStatus.QUEUED, RenderStatus.PAUSED, *FINAL}))
def test_only_an_active_render_can_be_released_lost_or_paused(a_render, status):
    render = replace(leased(a_render()), status=status)
    with pytest.raises(IllegalMove):
        render.released(FIRST_NOON, "drained")
    with pytest.raises(IllegalMove):
        render.lost(FIRST_NOON, "gone")
    with pytest.raises(IllegalMove):
        render.paused(FIRST_NOON, None)


@pytest.mark.parametrize("status", sorted(set(RenderStatus) - {RenderStatus.PAUSED}))
def test_only_a_paused_render_goes_on(a_render, status):
    with pytest.raises(IllegalMove):
        replace(leased(a_render()), status=status).continued(0, FIRST_NOON)


def test_the_time_limit_of_the_queue_is_over_with_the_first_lease(a_render):
    waiting = a_render(expires_at=FIRST_NOON + timedelta(minutes=1), deadline=FIRST_NOON + timedelta(hours=1))
    assert waiting.give_up_at == waiting.expires_at
    back = leased(waiting).released(FIRST_NOON, "drained")
    assert back.expires_at is None
    assert back.give_up_at == waiting.deadline
    assert a_render().give_up_at is None


def test_losses_count_towards_giving_up_but_releases_do_not(a_render):
    render = a_render()
    for _ in range(10):
        render = leased(render).released(FIRST_NOON, "drained")
    for _ in range(MAX_LOSSES - 1):
        render = leased(render).lost(FIRST_NOON, "gone")
        assert render.status is RenderStatus.QUEUED
    render = leased(render).lost(FIRST_NOON, "gone")
    assert render.status is RenderStatus.FAILED
    assert render.error is not None
    assert render.error.reason == "WORKER_LOST"
    outcomes = [record.outcome for record in render.attempts]
    assert outcomes == [Outcome.RELEASED] * 10 + [Outcome.LOST] * MAX_LOSSES


def test_the_last_loss_fails_with_its_cause_where_one_is_known(a_render):
    cause = Failure("RUNTIME_START_FAILED", "no process could be made", retry=True)
    render = replace(leased(a_render()), losses=MAX_LOSSES - 1)
    assert render.lost(FIRST_NOON, "gone", cause).error == cause


def test_an_attempt_is_kept_with_how_why_and_when_it_ended(a_render):
    later = FIRST_NOON + timedelta(seconds=9)
    record = leased(a_render()).lost(later, "the worker was lost").attempts[0]
    assert (record.outcome, record.message, record.ended_at) == (Outcome.LOST, "the worker was lost", later)
    assert (record.runtime_id, str(record.target)) == ("rt_1", "H200@eu-north2")


@pytest.mark.parametrize("to", [RenderStatus.SUCCEEDED, RenderStatus.FAILED])
def test_the_attempt_that_ends_a_render_ends_as_the_render_does(a_render, to):
    ended = leased(a_render()).ended(to, FIRST_NOON, error=LATE if to is RenderStatus.FAILED else None)
    assert ended.attempts[-1].outcome.value == to.value
    assert ended.attempts[-1].message == (LATE.message if to is RenderStatus.FAILED else "")


def test_a_render_that_ends_while_it_waits_leaves_its_attempts_as_they_were(a_render):
    lost = leased(a_render()).lost(FIRST_NOON, "gone")
    ended = lost.ended(RenderStatus.CANCELED, FIRST_NOON)
    assert ended.attempts == lost.attempts


def test_a_paused_render_holds_nothing_and_goes_on_where_it_was(a_render):
    expires_at = FIRST_NOON + timedelta(days=1)
    running = replace(leased(a_render(pause_after_step=2)), checkpoint_key="two steps")
    paused = running.paused(FIRST_NOON, expires_at)
    assert (paused.status, paused.runtime_id, paused.lease_until) == (RenderStatus.PAUSED, None, None)
    assert paused.attempts[-1].outcome is Outcome.PAUSED
    assert (paused.expires_at, paused.pause_after_step) == (expires_at, 0)
    assert paused.is_settled
    assert not paused.is_final
    continued = paused.continued(5, FIRST_NOON)
    assert (continued.status, continued.pause_after_step) == (RenderStatus.QUEUED, 5)
    assert continued.expires_at is None
    assert continued.was_paused
    again = leased(continued)
    assert (again.attempt, again.losses, again.checkpoint_key) == (2, 0, "two steps")


def test_a_paused_render_may_be_canceled_or_expire_but_not_succeed(a_render):
    paused = leased(a_render()).paused(FIRST_NOON, None)
    for to in (RenderStatus.CANCELED, RenderStatus.EXPIRED):
        assert paused.ended(to, FIRST_NOON).status is to
    for to in (RenderStatus.SUCCEEDED, RenderStatus.RUNNING, RenderStatus.FAILED):
        with pytest.raises(IllegalMove):
            paused.moved(to)


@pytest.mark.parametrize("leave", ["lost", "released"])
def test_a_worker_that_goes_away_while_canceling_ends_the_render_as_canceled(a_render, leave):
    canceling = leased(a_render()).moved(RenderStatus.CANCELING)
    assert getattr(canceling, leave)(FIRST_NOON, "gone").status is RenderStatus.CANCELED


@pytest.mark.parametrize("leave", ["lost", "released"])
def test_a_render_that_is_stopped_for_a_reason_has_failed_with_that_reason(a_render, leave):
    stopping = leased(a_render()).moved(RenderStatus.CANCELING, stopping=LATE)
    for ended in (stopping.stopped(FIRST_NOON), getattr(stopping, leave)(FIRST_NOON, "gone")):
        assert (ended.status, ended.error) == (RenderStatus.FAILED, LATE)
        assert ended.attempts[-1].outcome is Outcome.FAILED


def test_a_video_finished_before_its_cancelation_took_effect_counts(a_render):
    for stopping in (None, LATE):
        render = leased(a_render()).moved(RenderStatus.CANCELING, stopping=stopping)
        assert render.ended(RenderStatus.SUCCEEDED, FIRST_NOON).status is RenderStatus.SUCCEEDED


def test_an_ended_render_holds_no_lease_and_no_runtime(a_render):
    render = leased(a_render()).ended(RenderStatus.SUCCEEDED, FIRST_NOON + timedelta(seconds=5))
    assert (render.lease_until, render.runtime_id, render.explanation) == (None, None, "")
    assert render.timing.total_ms == 5000


def test_device_time_is_that_of_all_attempts_up_to_their_last_sign_of_life(a_render):
    first = leased(a_render()).accrued(5.0, FIRST_NOON + timedelta(seconds=7))
    assert first.attempts[-1].accrued_at == FIRST_NOON + timedelta(seconds=7)
    lost = first.lost(FIRST_NOON + timedelta(minutes=5), "silent for minutes")
    assert lost.gpu_seconds == 5.0
    second = leased(lost, usd_per_hour=None).accrued(2.0, FIRST_NOON).accrued(1.5, FIRST_NOON)
    assert second.gpu_seconds == 8.5
    assert second.usd == 5.0, "a dollar a second, and what nobody knows is not counted"
    assert second.attempts[-1].usd is None


moves = st.lists(st.sampled_from(["lease", "release", "lose", "pause", "continue", "cancel", "stop", "succeed"]))


def moved(render: Render, move: str) -> Render:
    match move:
        case "lease":
            return leased(render)
        case "release":
            return render.released(FIRST_NOON, "drained")
        case "lose":
            return render.lost(FIRST_NOON, "gone")
        case "pause":
            return render.paused(FIRST_NOON, None)
        case "continue":
            return render.continued(0, FIRST_NOON)
        case "cancel":
            return render.moved(RenderStatus.CANCELING)
        case "stop":
            return render.stopped(FIRST_NOON)
        case _:
            return render.ended(RenderStatus.SUCCEEDED, FIRST_NOON)


@given(moves)
def test_whatever_happens_attempts_are_numbered_and_only_an_active_render_has_one_that_runs(path):
    render = Render(id="rnd_1", account="ann", slug="alpha", model_version="v1", created_at=FIRST_NOON)
    for move in path:
        if render.attempt == 0 and move != "lease":
            continue  # whoever has an attempt in hand has leased first
        try:
            render = moved(render, move)
        except IllegalMove:
            continue
        assert [record.attempt for record in render.attempts] == list(range(1, render.attempt + 1))
        running = [record for record in render.attempts if record.outcome is Outcome.RUNNING]
        assert len(running) == (render.status in ACTIVE)
        assert (render.runtime_id is not None) == (render.status in ACTIVE)
        assert render.losses == sum(record.outcome is Outcome.LOST for record in render.attempts)
        assert render.losses <= MAX_LOSSES
        assert render.phase is not Phase.QUEUED or render.status in (RenderStatus.QUEUED, *FINAL)


def test_a_snapshot_carries_the_number_of_the_newest_event(a_render):
    assert snapshot(a_render(last_seq=7), FIRST_NOON, "hello").seq == 7


def test_a_clock_that_jumps_back_gives_no_negative_duration():
    assert milliseconds(FIRST_NOON, FIRST_NOON - timedelta(hours=1)) == 0


def test_what_may_wait_for_ever_has_no_end():
    assert expiry(FIRST_NOON, None) is None
    assert expiry(FIRST_NOON, timedelta(seconds=1)) == FIRST_NOON + timedelta(seconds=1)
