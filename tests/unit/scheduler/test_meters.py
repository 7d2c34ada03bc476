"""What is counted of renders."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.scheduler.domain.demand import entry_of
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import Lease, RenderStatus
from services.scheduler.usecases import meters
from services.scheduler.usecases.queue import Queue

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Recorder:
    """Instruments of every kind."""

    def __init__(self):
        self.told = []

    def add(self, amount, labels=None):
        self.told.append((amount, labels))

    record = add


@pytest.fixture
def told(monkeypatch):
    recorders = {
        name: Recorder() for name in ("_wait", "_ended", "_attempts", "_total", "_phase", "_checkpoints", "_device")
    }
    for name, recorder in recorders.items():
        monkeypatch.setattr(meters, name, recorder)
    return {name: recorder.told for name, recorder in recorders.items()}


def at(seconds):
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def running(a_render):
    queued = a_render(created_at=NOON)
    return queued, queued.leased(Lease("rt_1", Target("H200", "eu"), False, at(30), "free"), at(3))


def test_a_wait_an_attempt_and_an_end_are_counted_once_each(running, told):
    queued, leased = running
    held = leased.accrued(4.0, at(7))
    ended = held.ended(RenderStatus.SUCCEEDED, at(8))
    for before, after in ((queued, leased), (leased, held), (held, ended)):
        meters.count_change(before, after)
    where = {"model": "alpha", "gpu_type": "H200", "region": "eu"}
    assert told["_wait"] == [(3.0, {"model": "alpha"})]
    assert told["_attempts"] == [(1, {**where, "outcome": "succeeded"})]
    assert told["_device"] == [(4.0, where)]
    assert told["_phase"] == [(4.0, {**where, "phase": "encoding"})]
    assert told["_ended"] == [(1, {"model": "alpha", "status": "succeeded", "reason": ""})]
    assert told["_total"] == [(8.0, {"model": "alpha", "status": "succeeded"})]


def test_a_lost_attempt_is_counted_and_the_render_has_not_ended(running, told):
    _, leased = running
    meters.count_change(leased, leased.lost(at(9), "the worker was lost"))
    assert [labels["outcome"] for _, labels in told["_attempts"]] == ["lost"]
    assert told["_ended"] == []


def test_each_new_checkpoint_is_counted(running, told):
    _, leased = running
    kept = replace(leased, checkpoint_key="renders/rnd_1/1/checkpoint")
    meters.count_change(leased, kept)
    meters.count_change(kept, replace(kept, worker_seq=9))
    assert told["_checkpoints"] == [(1, {"model": "alpha"})]


def test_the_oldest_wait_is_that_of_the_render_and_not_of_a_probe(a_render):
    queue = Queue()
    for number, changes in enumerate(
        ({"created_at": at(5)}, {"created_at": at(2)}, {"created_at": NOON, "probe_id": "p"})
    ):
        queue.note(a_render(id=f"rnd_{number}", **changes), waits=True)
    assert queue.oldest() == at(2)
    assert entry_of(a_render(created_at=at(1))).since == at(1)
