"""Canceling at every state, and deadlines that pass at every state."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.ground import Body, Ground, Missed, expect
from tests.faults.promises import FINAL
from tests.faults.reading import moment
from tests.faults.settings import LEASE_SECONDS, SPARE

PHASES = ("encoding", "denoising", "decoding")
"""What a worker can be at. It is held there, so that nothing is left to chance."""

_BODIES: dict[str, dict[str, int]] = {
    "encoding": {"width": 128, "height": 128, "num_inference_steps": 100},
    "denoising": {"num_inference_steps": 100},
    "decoding": {"width": 256, "height": 256, "num_frames": 8},
    "storing": {"num_inference_steps": 50},
}
"""By phase: a render that is in it long enough to be held there, and with much to do after it."""

_TRIES = 40
_SLICE_SECONDS = 0.0005
_LOOK_EVERY_SECONDS = 0.004
"""For what is over soon."""
_NOTICED_SECONDS = 3.0
_LONG_SECONDS = 6.0
"""A deadline that a small render comes to its end before, also on a busy machine."""


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
        """It ends within a step as canceled; canceling again changes nothing.

        Recovery is until the end, from when its worker, held in this phase, goes on.
        """
        render_id, go_on = _held_in(at, phase)
        expect(_cancel(at, render_id)["status"] == "canceling", "it is not being canceled")
        before = at.ledger.body(render_id) or {}
        expect(_cancel(at, render_id)["status"] == "canceling", "canceling again moved it")
        expect((at.ledger.body(render_id) or {})["last_seq"] == before["last_seq"], "canceling again was told again")
        go_on()
        resumed_at = time.time()
        ended = at.ended(render_id, as_status="canceled", seconds=_NOTICED_SECONDS)
        return max(0.0, moment(ended["ended_at"]) - resumed_at)

    return trial


def cancel_storing(at: Ground, luck: Random) -> float:
    """Canceled while the object store refuses its video: it ends as canceled without it. Recovery is until then."""
    render_id, _ = _held_in(at, "storing")
    asked_at = time.time()
    _cancel(at, render_id)
    ended = at.ended(render_id, as_status="canceled", seconds=_NOTICED_SECONDS)
    at.ended(at.submit(at.body("small")))
    return max(0.0, moment(ended["ended_at"]) - asked_at)


def cancel_unheard(at: Ground, luck: Random) -> float:
    """Canceled while its worker hangs: it is final after two leases, without the worker. Recovery is until then."""
    render_id, go_on = _held_in(at, "denoising")
    asked_at = time.time()
    _cancel(at, render_id)
    ended = at.ended(render_id, as_status="canceled", seconds=2 * LEASE_SECONDS + 4.0)
    go_on()
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
        """It fails with DEADLINE_EXCEEDED within seconds. Recovery is from the deadline to the end."""
        render_id, go_on = _held_in(at, phase, deadline_seconds=3.0)
        at.reached(render_id, lambda body: body["status"] == "canceling", what="the deadline")
        go_on()
        return _overdue(at, render_id)

    return trial


def deadline_storing(at: Ground, luck: Random) -> float:
    """A deadline that passes while the object store refuses the video: it fails with DEADLINE_EXCEEDED within seconds.

    Recovery is from the deadline to the end.
    """
    render_id, _ = _held_in(at, "storing", deadline_seconds=_LONG_SECONDS)
    return _overdue(at, render_id)


def deadline_canceling(at: Ground, luck: Random) -> None:
    """A deadline that passes while it is being canceled changes nothing: it ends as canceled."""
    render_id, go_on = _held_in(at, "denoising", deadline_seconds=3.0)
    _cancel(at, render_id)
    deadline = moment((at.ledger.body(render_id) or {})["deadline"])
    at.until(lambda: time.time() > deadline + 1.0, what="the deadline")
    go_on()
    at.ended(render_id, as_status="canceled", seconds=_NOTICED_SECONDS)


def deadline_ended(at: Ground, luck: Random) -> None:
    """A deadline that passes after the end changes nothing."""
    at.ended(at.submit(at.body("small")))  # a runtime is warm, whatever was before
    render_id = at.submit(at.body("small", deadline=_in(3.0)))
    before = at.ended(render_id)
    at.until(lambda: time.time() > moment(before["deadline"]) + 2.0, what="the deadline")
    expect(at.ledger.body(render_id) == before, "a finished render changed")


def _cancel(at: Ground, render_id: str) -> Body:
    answer = at.post(f"/v1/renders/{render_id}/cancel", {})
    expect(answer.status_code == 200, f"canceling was answered {answer.status_code} {answer.text}")
    return answer.json()


def _in(seconds: float) -> str:
    """A deadline."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _overdue(at: Ground, render_id: str) -> float:
    """Wait until a render has ended for its deadline, and return how long after that."""
    ended = at.reached(
        render_id, lambda body: body["status"] in FINAL, what="its end", seconds=_LONG_SECONDS + _NOTICED_SECONDS
    )
    _expect_overdue(ended)
    return moment(ended["ended_at"]) - moment(ended["deadline"])


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


def _held_in(at: Ground, phase: str, *, deadline_seconds: float | None = None) -> tuple[str, Callable[[], Any]]:
    """A render that stands still in this phase, as the log has it, and what lets it go on."""
    body = at.body("small") | _BODIES[phase]
    hold = _stored_nowhere if phase == "storing" else _frozen
    at.ended(at.submit(at.body("small")))  # a runtime is warm, so that a deadline is not spent on a start
    for _ in range(_TRIES):
        limit = {} if deadline_seconds is None else {"deadline": _in(deadline_seconds)}
        render_id = at.submit(body | limit)
        if go_on := hold(at, phase, render_id):
            return render_id, go_on
        at.reached(render_id, lambda body: body["status"] in FINAL, what="its end")
    raise Missed(f"no render could be held in {phase} in {_TRIES} tries")


def _stored_nowhere(at: Ground, phase: str, render_id: str) -> Callable[[], Any]:
    """Have the object store refuse the video: a folder is in its place."""
    in_the_way = at.objects_dir / "renders" / render_id / "1" / "video.mp4"
    in_the_way.mkdir(parents=True)
    at.afterwards(_remove, in_the_way)
    at.reached(render_id, lambda body: body["phase"] == phase, what=phase)
    return lambda: _remove(in_the_way)


def _frozen(at: Ground, phase: str, render_id: str) -> Callable[[], Any] | None:
    """Freeze its worker in a phase; None when that was over too soon."""
    found = at.reached(render_id, lambda body: _has_come_to(phase, body), what=phase, every=_LOOK_EVERY_SECONDS)
    if found["status"] != "running":
        return None
    worker = at.worker_of(render_id)
    at.freeze(worker)
    while True:
        time.sleep(0.03)  # for what was said before to be written down
        now = at.ledger.body(render_id) or {}
        if now["status"] != "running" or _ORDER.index(now["phase"]) > _ORDER.index(phase):
            worker.resume()
            return None
        if now["phase"] == phase:
            return worker.resume
        worker.resume()
        time.sleep(_SLICE_SECONDS)
        worker.suspend()


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        directory.rmdir()


_ORDER = ("queued", "starting", "encoding", "denoising", "decoding", "muxing", "storing", "done")


def _has_come_to(phase: str, body: Body) -> bool:
    return body["status"] in FINAL or (
        body["status"] == "running" and _ORDER.index(body["phase"]) >= _ORDER.index(phase)
    )
