"""Canceling at every state, and deadlines that pass at every state."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import psutil

from tests.faults.ground import Body, Ground, Missed, expect, thaw
from tests.faults.promises import FINAL
from tests.faults.reading import moment
from tests.faults.settings import LEASE_SECONDS, SPARE

PHASES = ("encoding", "denoising", "decoding", "storing")
"""What a worker can be at. It is held there, so that nothing is left to chance."""

_TRIES = 40
_SLICE_SECONDS = 0.0005
_NOTICED_SECONDS = 3.0


def cancel_waiting(at: Ground, luck: Random) -> None:
    """Canceled while queued, or paused: it has ended when the call returns, and no attempt begins afterwards."""
    holding = [at.submit(at.body("medium", seed=seed)) for seed in range(2)]
    queued = at.submit(at.body("small", priority="low"))
    expect(_cancel(at, queued)["status"] == "canceled", "a queued render was not canceled at once")
    paused = at.submit(at.body("medium", pause_after_step=3))
    at.reached(paused, lambda body: body["status"] == "paused", what="pausing")
    expect(_cancel(at, paused)["status"] == "canceled", "a paused render was not canceled at once")
    at.ended(*holding)
    for render_id, attempts in ((queued, 0), (paused, 1)):
        expect(len(at.ended(render_id, as_status="canceled")["attempts"]) == attempts, "an attempt began afterwards")


def cancel_starting(at: Ground, luck: Random) -> None:
    """Canceled while its runtime starts: it ends at once, and the next render finds a runtime."""
    body = _cold(at)
    render_id = at.submit(body)
    at.reached(render_id, lambda found: found["phase"] == "starting", what="the start")
    _cancel(at, render_id)
    at.ended(render_id, as_status="canceled", seconds=_NOTICED_SECONDS)
    at.ended(at.submit(body))


def cancel_in(phase: str) -> Callable[[Ground, Random], float]:
    """The trial that cancels in a phase of the work."""

    def trial(at: Ground, luck: Random) -> float:
        """It ends within a step as canceled, while storing maybe as succeeded; canceling again changes nothing.

        Recovery is until the end, from when its worker, held in this phase, goes on.
        """
        render_id, worker = _held_in(at, phase, _a_body(at))
        expect(_cancel(at, render_id)["status"] == "canceling", "it is not being canceled")
        before = at.ledger.body(render_id) or {}
        expect(_cancel(at, render_id)["status"] == "canceling", "canceling again moved it")
        expect((at.ledger.body(render_id) or {})["last_seq"] == before["last_seq"], "canceling again was told again")
        worker.resume()
        resumed_at = time.time()
        ended = at.reached(render_id, lambda body: body["status"] in FINAL, what="its end", seconds=_NOTICED_SECONDS)
        allowed = {"canceled", "succeeded"} if phase == "storing" else {"canceled"}
        expect(ended["status"] in allowed, f"it ended as {ended['status']}: {ended['error']}")
        return max(0.0, moment(ended["ended_at"]) - resumed_at)

    return trial


def cancel_unheard(at: Ground, luck: Random) -> float:
    """Canceled while its worker hangs: it is final after two leases, without the worker. Recovery is until then."""
    render_id, worker = _held_in(at, "denoising", at.body("medium"))
    asked_at = time.time()
    _cancel(at, render_id)
    ended = at.ended(render_id, as_status="canceled", seconds=2 * LEASE_SECONDS + 4.0)
    thaw(worker)
    took = moment(ended["ended_at"]) - asked_at
    expect(took <= 2 * LEASE_SECONDS + 2.0, f"it took {took:.1f} s")
    at.ended(at.submit(at.body("small")))
    return took


def cancel_ended(at: Ground, luck: Random) -> None:
    """Canceled after its end: it stays as it is, and its log does too."""
    render_id = at.submit(at.body("small"))
    before = at.ended(render_id)
    expect(_cancel(at, render_id)["status"] == "succeeded", "a finished render moved")
    expect(at.ledger.body(render_id) == before, "a finished render changed")


def deadline_waiting(at: Ground, luck: Random) -> None:
    """A deadline that passes in the queue: the render expires within two seconds and never begins."""
    holding = [at.submit(at.body("medium", seed=seed)) for seed in range(2)]
    render_id = at.submit(at.body("small", priority="low", deadline=_in(0.5)))
    ended = at.ended(render_id, as_status="expired")
    expect(not ended["attempts"], "it began")
    late = moment(ended["ended_at"]) - moment(ended["deadline"])
    expect(0.0 <= late <= 2.0, f"it expired {late:.1f} s after its deadline")
    at.ended(*holding)


def deadline_starting(at: Ground, luck: Random) -> None:
    """A deadline that passes while the runtime starts: it fails with DEADLINE_EXCEEDED within seconds."""
    for _ in range(_TRIES):
        render_id = at.submit(_cold(at) | {"deadline": _in(luck.uniform(0.2, 0.5))})
        ended = at.reached(render_id, lambda body: body["status"] in FINAL, what="its end")
        phases = {event["phase"] for event in at.ledger.events(render_id)}
        if ended["status"] == "failed" and "starting" in phases and "denoising" not in phases:
            return _expect_overdue(ended)
    raise Missed(f"in {_TRIES} tries no deadline passed during a start")


def deadline_in(phase: str) -> Callable[[Ground, Random], float]:
    """The trial that lets a deadline pass in a phase of the work."""

    def trial(at: Ground, luck: Random) -> float:
        """It fails with DEADLINE_EXCEEDED within seconds; while storing it may succeed.

        Recovery is from the deadline to the end.
        """
        render_id, worker = _held_in(at, phase, _a_body(at), deadline_seconds=at.size(quick=15, full=30) / 10)
        at.reached(render_id, lambda body: body["status"] == "canceling", what="the deadline")
        worker.resume()
        ended = at.reached(render_id, lambda body: body["status"] in FINAL, what="its end", seconds=_NOTICED_SECONDS)
        if ended["status"] == "succeeded" and phase == "storing":
            return 0.0
        _expect_overdue(ended)
        return moment(ended["ended_at"]) - moment(ended["deadline"])

    return trial


def deadline_canceling(at: Ground, luck: Random) -> None:
    """A deadline that passes while it is being canceled changes nothing: it ends as canceled."""
    render_id, worker = _held_in(at, "denoising", at.body("medium"), deadline_seconds=2.0)
    _cancel(at, render_id)
    deadline = moment((at.ledger.body(render_id) or {})["deadline"])
    at.until(lambda: time.time() > deadline + 1.0, what="the deadline")
    worker.resume()
    at.ended(render_id, as_status="canceled", seconds=_NOTICED_SECONDS)


def deadline_ended(at: Ground, luck: Random) -> None:
    """A deadline that passes after the end changes nothing."""
    render_id = at.submit(at.body("small", deadline=_in(2.0)))
    before = at.ended(render_id)
    at.until(lambda: time.time() > moment(before["deadline"]) + 2.0, what="the deadline")
    expect(at.ledger.body(render_id) == before, "a finished render changed")


def _a_body(at: Ground) -> Body:
    """One that is in each phase for long enough to be held there."""
    return at.body("small", width=128, height=128, num_inference_steps=20)


def _cancel(at: Ground, render_id: str) -> Body:
    answer = at.post(f"/v1/renders/{render_id}/cancel", {})
    expect(answer.status_code == 200, f"canceling was answered {answer.status_code} {answer.text}")
    return answer.json()


def _in(seconds: float) -> str:
    """A deadline."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _expect_overdue(ended: Body) -> None:
    expect(
        ended["status"] == "failed" and ended["error"]["reason"] == "DEADLINE_EXCEEDED",
        f"it ended as {ended['status']} for {ended['error']}",
    )
    late = moment(ended["ended_at"]) - moment(ended["deadline"])
    expect(0.0 <= late <= _NOTICED_SECONDS + 1.0, f"it ended {late:.1f} s after its deadline")


def _cold(at: Ground) -> Body:
    """A body whose version has no runtime on its target now."""
    body = at.body("small", gpu_type=SPARE)
    where = {"gpu_type": SPARE, "version": body["model_version"]}
    at.until(
        lambda: at.post(f"/v1/model-families/{body['model']}/stop", where).status_code == 200,
        what="stopping the runtime",
    )
    return body


def _held_in(
    at: Ground, phase: str, body: Body, *, deadline_seconds: float | None = None
) -> tuple[str, psutil.Process]:
    """A render whose worker stands still in this phase, as the log has it, with its deadline still to come."""
    for _ in range(_TRIES):
        limit = {} if deadline_seconds is None else {"deadline": _in(deadline_seconds)}
        render_id = at.submit(body | limit)
        found = at.reached(render_id, lambda body: _has_come_to(phase, body), what=f"{phase}")
        if found["status"] != "running":
            continue
        worker = at.worker_of(render_id)
        at.freeze(worker)
        while True:
            time.sleep(0.03)  # for what was said before to be written down
            now = at.ledger.body(render_id) or {}
            if now["status"] != "running" or _ORDER.index(now["phase"]) > _ORDER.index(phase):
                worker.resume()
                break
            if now["phase"] == phase:
                return render_id, worker
            worker.resume()
            time.sleep(_SLICE_SECONDS)
            worker.suspend()
        at.reached(render_id, lambda body: body["status"] in FINAL, what="its end")
    raise Missed(f"no render could be held in {phase} in {_TRIES} tries")


_ORDER = ("queued", "starting", "encoding", "denoising", "decoding", "muxing", "storing", "done")


def _has_come_to(phase: str, body: Body) -> bool:
    """Whether it is in the phase before, or in this one when it lasts."""
    near = {"storing": "decoding"}.get(phase, phase)
    return body["status"] in FINAL or (
        body["status"] == "running" and _ORDER.index(body["phase"]) >= _ORDER.index(near)
    )
