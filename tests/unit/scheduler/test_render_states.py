"""The moves a render may make."""

from datetime import UTC, datetime, timedelta

import pytest

from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import FINAL, MAX_LOSSES, IllegalMove, RenderStatus, milliseconds, snapshot

FIRST_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def lease(render):
    return render.leased(
        runtime_id="rt_1",
        target=Target("H200", "eu-north2"),
        cold=True,
        now=FIRST_NOON + timedelta(seconds=2),
        lease=LEASE,
        estimated_cost_usd=0.1,
    )


@pytest.mark.parametrize("final", sorted(FINAL))
@pytest.mark.parametrize("to", list(RenderStatus))
def test_a_finished_render_never_moves_again(a_render, final, to):
    with pytest.raises(IllegalMove):
        a_render(status=final).moved(to)


def test_the_final_states_are_these_four():
    assert {"succeeded", "failed", "canceled", "expired"} == FINAL


def test_each_lease_raises_the_epoch_and_the_attempt(a_render):
    first = lease(a_render())
    second = lease(first.released())
    assert [(r.epoch, r.attempt) for r in (first, second)] == [(1, 1), (2, 2)]
    assert second.started_at == first.started_at
    assert first.timing.queued_ms == 2000


def test_only_a_queued_render_can_be_leased(a_render):
    for status in set(RenderStatus) - {RenderStatus.QUEUED}:
        with pytest.raises(IllegalMove):
            lease(a_render(status=status))


def test_losses_count_towards_giving_up_but_releases_do_not(a_render):
    render = a_render()
    for _ in range(10):
        render = lease(render).released()
    for _ in range(MAX_LOSSES - 1):
        render = lease(render).lost(FIRST_NOON)
        assert render.status is RenderStatus.QUEUED
    render = lease(render).lost(FIRST_NOON)
    assert render.status is RenderStatus.FAILED
    assert render.error is not None
    assert render.error.reason == "WORKER_LOST"


def test_a_worker_lost_while_canceling_ends_the_render_as_canceled(a_render):
    render = lease(a_render()).moved(RenderStatus.CANCELING)
    assert render.lost(FIRST_NOON).status is RenderStatus.CANCELED


def test_a_video_finished_before_its_cancelation_took_effect_counts(a_render):
    render = lease(a_render()).moved(RenderStatus.CANCELING)
    assert render.ended(RenderStatus.SUCCEEDED, FIRST_NOON).status is RenderStatus.SUCCEEDED


def test_an_ended_render_holds_no_lease_and_no_runtime(a_render):
    render = lease(a_render()).ended(RenderStatus.SUCCEEDED, FIRST_NOON + timedelta(seconds=5))
    assert (render.lease_until, render.runtime_id) == (None, None)
    assert render.timing.total_ms == 5000


def test_a_snapshot_carries_the_number_of_the_newest_event(a_render):
    assert snapshot(a_render(last_seq=7), FIRST_NOON, "hello").seq == 7


def test_a_clock_that_jumps_back_gives_no_negative_duration():
    assert milliseconds(FIRST_NOON, FIRST_NOON - timedelta(hours=1)) == 0
