"""A render that kills its worker every time."""

import time
from random import Random

from tests.faults.ground import Body, Ground, expect
from tests.faults.reading import attempts_of
from tests.faults.settings import SPARE


def poison(at: Ground, luck: Random) -> None:
    """It fails with WORKER_LOST after the third, with every loss on record; others do not notice.

    After the second such render its target is spared: a third waits there, and says why.
    """
    renders = at.size(quick=1, full=2)
    innocent = at.submit(at.body("long", seed=at.seed(luck)))
    for _ in range(renders):
        render_id = at.submit(at.body("medium", gpu_type=SPARE))
        _kill_every_worker_of(at, render_id)
        ended = at.ended(render_id, as_status="failed")
        expect(ended["error"]["reason"] == "WORKER_LOST", f"it failed for {ended['error']}")
        losses = attempts_of(ended, ["lost", "lost", "lost"])
        expect(all(loss["message"] and loss["target"]["gpu_type"] == SPARE for loss in losses), "evidence is missing")
    attempts_of(at.ended(innocent), ["succeeded"])
    if renders < 2:
        return
    waiting = at.submit(at.body("small", gpu_type=SPARE))
    elsewhere = at.submit(at.body("small"))
    attempts_of(at.ended(elsewhere), ["succeeded"])
    capacity = {target["gpu_type"]: target for target in at.get("/v1/capacity").json()["targets"]}
    circuits = capacity[SPARE]["open_circuits"]
    expect(len(circuits) == 1 and circuits[0]["message"], f"the circuits are {circuits}")
    time.sleep(1.0)
    shown = at.get(f"/v1/renders/{waiting}").json()
    expect(shown["status"] == "queued" and shown["explanation"], f"the third is {shown['status']}: {shown}")
    at.post(f"/v1/renders/{waiting}/cancel", {})


def _kill_every_worker_of(at: Ground, render_id: str) -> None:
    """Kill each worker that has begun to render it, until it has ended or three are gone."""
    for attempt in range(1, 4):

        def begun(body: Body, attempt: int = attempt) -> bool:
            return body["attempt"] == attempt and body["phase"] == "denoising" and body["status"] == "running"

        at.reached(render_id, begun, what=f"attempt {attempt}")
        at.kill(at.worker_of(render_id))
