"""Processes that are told to stop in the middle of renders."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.faults.ground import Ground, expect, thaw
from tests.faults.reading import moment
from tests.faults.settings import LEASE_SECONDS


def worker(at: Ground, luck: Random) -> float:
    """Its render is checkpointed, released and finished elsewhere, without a loss and without a step made twice.

    Recovery is until the next attempt has begun.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    render_id = at.submit(body)
    at.denoising(render_id, share=luck.uniform(0.2, 0.7))
    told_at = time.time()
    at.worker_of(render_id).terminate()
    ended = at.ended(render_id)
    at.same_video(render_id, expected)
    _released_without_loss(at, render_id)
    return moment(ended["attempts"][1]["began_at"]) - told_at


def scheduler(at: Ground, luck: Random) -> float:
    """Renders are checkpointed and released, and finished after its return, as those in the queue, without a loss.

    Recovery is until the platform answers again.
    """
    render_ids, waiting, expected = _renders(at, luck)
    told_at = time.time()
    told = at.processes("services.scheduler")
    for process in told:
        process.terminate()
    at.until(lambda: not any(process.is_running() for process in told), what="the end of the scheduler")
    at.answering(render_ids[0])
    recovered = time.time() - told_at
    _finished_after_release(at, render_ids, waiting, expected)
    return recovered


def whole_stack(at: Ground, luck: Random) -> float:
    """No process is left; after the next start every render is finished from its checkpoint, without a loss.

    Recovery is from the signal until the started platform is healthy.
    """
    render_ids, waiting, expected = _renders(at, luck)
    told_at = time.time()
    _stop_in_the_middle_of(at, render_ids)
    stopped = {render_id: at.ledger.body(render_id) or {} for render_id in (*render_ids, *waiting)}
    held = {name: body["status"] for name, body in stopped.items() if body["status"] in ("running", "canceling")}
    expect(not held, f"nobody works any more, and yet there are {held}")
    at.restart()
    recovered = time.time() - told_at
    _finished_after_release(at, render_ids, waiting, expected)
    return recovered


def _stop_in_the_middle_of(at: Ground, render_ids: list[str]) -> None:
    """SIGTERM to the whole platform, until it has ended.

    The edge ends first, and renders as small as these would be over by then: they stand still meanwhile.
    """
    workers = [at.worker_of(render_id) for render_id in render_ids]
    with ThreadPoolExecutor(1) as stopping:
        for worker in workers:
            at.freeze(worker)
        stopped = stopping.submit(at.platform.stop, signal.SIGTERM)
        at.until(lambda: not at.processes("envoy.yaml"), what="the end of the edge", seconds=LEASE_SECONDS - 1.0)
        for worker in workers:
            thaw(worker)
        stopped.result()


def _renders(at: Ground, luck: Random) -> tuple[list[str], list[str], list[str]]:
    """Renders in the middle of every slot, some that wait, and the videos of the first."""
    bodies = [at.body("long", seed=at.seed(luck)) for _ in range(at.size(quick=1, full=2))]
    expected = [at.undisturbed(body) for body in bodies]
    render_ids = [at.submit(body) for body in bodies]
    waiting = [at.submit(at.body("small", seed=seed)) for seed in range(4)]
    for render_id in render_ids:
        at.denoising(render_id, share=luck.uniform(0.1, 0.3))
    return render_ids, waiting, expected


def _finished_after_release(at: Ground, render_ids: list[str], waiting: list[str], expected: list[str]) -> None:
    at.ended(*render_ids, *waiting)
    for render_id, sha256 in zip(render_ids, expected, strict=True):
        at.same_video(render_id, sha256)
        _released_without_loss(at, render_id)


def _released_without_loss(at: Ground, render_id: str) -> None:
    """Missed unless it was released once, lost nothing, and went on from the very step it had reached."""
    body = at.ledger.body(render_id) or {}
    outcomes = [attempt["outcome"] for attempt in body["attempts"]]
    expect(outcomes == ["released", "succeeded"] and body["losses"] == 0, f"{render_id}: its attempts went {outcomes}")
    steps = [event for event in at.ledger.events(render_id) if event["attempt"] == 1]
    done, resumed = max(event["progress"]["done_steps"] for event in steps), body["attempts"][1]["resumed_steps"]
    expect(resumed >= done, f"{render_id} had made {done} steps and went on from {resumed}")
