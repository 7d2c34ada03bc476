"""What the machine does to the platform: disks that are full, clocks that jump."""

import base64
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import httpx

from tests.faults import disks
from tests.faults.clocks import ShiftedClocks
from tests.faults.crowds import retry_seconds
from tests.faults.ground import Ground, Missed, NotHere, expect, thaw
from tests.faults.reading import attempts_of, moment

JUMP_SECONDS = 600
SILENCE_SECONDS = 1.5
"""Less than a lease, and more than the scheduler takes to look again."""


def state_full(at: Ground, luck: Random) -> float:
    """New renders are refused with 503 and a time to come back at; what was accepted ends well once there is room.

    Nothing is lost, renders can be looked at meanwhile. Recovery is until the next render is accepted.
    """
    _need_small_disks(at)
    running = [at.submit(at.body("long", seed=seed)) for seed in range(2)]
    waiting = [at.submit(at.body("small", seed=seed)) for seed in range(3)]
    for render_id in running:
        at.denoising(render_id)
    disks.fill(at.state_dir)
    at.afterwards(disks.clear, at.state_dir)
    accepted, refusal = _asked_until_refused(at)
    expect(refusal.status_code == 503, f"refused with {refusal.status_code} {refusal.text}")
    expect(retry_seconds(refusal) > 0, f"refused without a time to come back at: {refusal.text}")
    time.sleep(at.size(quick=1, full=8))
    seen = at.get(f"/v1/renders/{running[0]}").status_code
    expect(seen == 200, f"looking at a render was answered {seen}")
    disks.clear(at.state_dir)
    freed_at = time.time()
    at.submit(at.body("small"))
    recovered = time.time() - freed_at
    at.ended(*waiting, *accepted)
    for render_id in running:
        attempts_of(at.ended(render_id), ["succeeded"])
    return recovered


def outputs_full(at: Ground, luck: Random) -> float:
    """Renders wait with what they have made, keep nobody from a free slot, and end well once there is room.

    Nothing is lost. Recovery is until the first has ended.
    """
    _need_small_disks(at)
    return stored_late(
        at,
        luck,
        hurt=lambda: disks.fill(at.objects_dir),
        meanwhile=lambda: time.sleep(at.size(quick=1, full=8)),
        heal=lambda: disks.clear(at.objects_dir),
    )


def stored_late(
    at: Ground,
    luck: Random,
    *,
    hurt: Callable[[], object],
    meanwhile: Callable[[], object],
    heal: Callable[[], object],
) -> float:
    """Two renders that come to storing while nothing can be stored, and the seconds until one of them has ended.

    Both end in the same attempt, with the videos of undisturbed ones.
    """
    bodies = [at.body("medium", seed=at.seed(luck)) for _ in range(2)]
    expected = [at.undisturbed(body) for body in bodies]
    hurt()
    at.afterwards(heal)
    renders = []
    for body in bodies:
        renders.append(at.submit(body))
        at.reached(renders[-1], lambda body: body["phase"] == "storing", what="storing", seconds=40)
    meanwhile()
    heal()
    healed_at = time.time()
    attempts_of(at.ended(renders[0]), ["succeeded"])
    recovered = time.time() - healed_at
    attempts_of(at.ended(renders[1]), ["succeeded"])
    for render_id, sha256 in zip(renders, expected, strict=True):
        at.same_video(render_id, sha256)
    return recovered


def clock_jumps(whose: str) -> Callable[[Ground, Random], None]:
    """The trial that moves the wall clocks of the scheduler, of the workers, or of both."""

    def trial(at: Ground, luck: Random) -> None:
        """No worker is taken for lost, nothing begins again, and nobody pays for time that did not pass.

        The clock jumps in the middle of renders, forward or back, while their workers are silent, and later returns.
        """
        if at.clocks is None:
            raise NotHere("gcc on Linux is needed to build the shifted clocks")
        at.wall_clock_jumped = True
        seconds = luck.choice((JUMP_SECONDS, -JUMP_SECONDS))
        shift = {f"{who}_seconds": seconds for who in ("scheduler", "workers") if whose in (who, "both")}
        began = time.monotonic()
        running = [at.submit(at.body("long", seed=seed)) for seed in range(2)]
        for render_id in running:
            at.denoising(render_id)
        at.afterwards(at.clocks.shift)
        _jump(at, running, at.clocks, shift)
        during = [at.submit(at.body("small", seed=seed)) for seed in range(3)]
        _expect_shift(at, during[0], running[0], shift)
        _jump(at, running, at.clocks, {})
        after = at.submit(at.body("small"))
        at.ended(*running, *during, after)
        elapsed = time.monotonic() - began
        for render_id in (*running, *during, after):
            ended = at.ended(render_id)
            attempts_of(ended, ["succeeded"])
            paid = sum(attempt["gpu_seconds"] for attempt in ended["attempts"])
            expect(0 < paid <= elapsed, f"{render_id} pays for {paid:.1f} s of {elapsed:.1f} s")
            wrong = {name: ms for name, ms in ended["timing"].items() if name.endswith("_ms") and (ms or 0) < 0}
            expect(not wrong, f"{render_id} took less than no time: {wrong}")

    return trial


def _jump(at: Ground, running: list[str], clocks: ShiftedClocks, shift: Mapping[str, int]) -> None:
    """Shift the clocks during a silence: a word of the worker's right after the jump would hide what it did."""
    workers = [at.worker_of(render_id) for render_id in running if (at.ledger.body(render_id) or {})["runtime_id"]]
    for worker in workers:
        at.freeze(worker)
    clocks.shift(**shift)
    time.sleep(SILENCE_SECONDS)
    for worker in workers:
        thaw(worker)


def _expect_shift(at: Ground, accepted: str, running: str, shift: Mapping[str, int]) -> None:
    """Missed unless the fault is there: the trial would show nothing."""
    off = moment((at.ledger.body(accepted) or {})["created_at"]) - time.time()
    expect(abs(off - shift.get("scheduler_seconds", 0)) < 60, f"the scheduler's clock is off by {off:.0f} s")
    mapped = Path(f"/proc/{at.worker_of(running).pid}/maps").read_text()
    expect("clock_shim" in mapped, "the worker's clock cannot be shifted")


def _need_small_disks(at: Ground) -> None:
    if not at.has_small_disks:
        raise NotHere("memory cannot be mounted by this user, and user namespaces are not allowed")


def _asked_until_refused(at: Ground) -> tuple[list[str], httpx.Response]:
    """Renders that were still accepted, and the first answer that was a refusal.

    A database has some room of its own on a full disk, so each takes a megabyte.
    """
    pixels = base64.b64encode(b"P6\n512 512\n255\n" + bytes(512 * 512 * 3)).decode()
    body = at.body("small", image=f"data:image/x-portable-pixmap;base64,{pixels}")
    accepted: list[str] = []
    while len(accepted) < at.max_queued:
        answer = at.post("/v1/renders", body, at.new_key())
        if answer.status_code != 200:
            return accepted, answer
        accepted.append(answer.json()["id"])
    raise Missed(f"{len(accepted)} megabytes were accepted without room to write them down")
