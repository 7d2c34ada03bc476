"""kill -9 by the roll of dice: any worker or the scheduler, at any moment, again and again."""

import time
from random import Random

from tests.faults.ground import Ground
from tests.platforms import SKYREELS

VICTIMS = (["worker"], ["worker"], ["scheduler"], ["worker", "scheduler"], ["scheduler", "worker"])


def dice(at: Ground, luck: Random) -> float:
    """Whatever is killed at whatever moment, every render ends well, with the video of an undisturbed one.

    Recovery is until the last of the round's renders has ended.
    """
    bodies = [at.body("medium", seed=at.seed(luck)), at.body("small", seed=at.seed(luck)), at.body("medium", seed=0)]
    if at.size(quick=0, full=1):
        bodies.append(at.body("medium", SKYREELS, seed=luck.randrange(2)))
    expected = [at.undisturbed(body) for body in bodies]
    luck.shuffle(order := list(range(len(bodies))))
    renders = {at.submit(bodies[index]): expected[index] for index in order}
    time.sleep(luck.uniform(0.0, 3.0))
    killed_at = time.time()
    for victim in luck.choice(VICTIMS):
        processes = at.processes("services.scheduler")
        if victim == "worker":
            pids = at.platform.worker_pids()
            processes = [process for process in at.processes("services.inference_worker") if process.pid in pids]
        if processes:
            at.kill(luck.choice(processes))
        time.sleep(luck.choice((0.0, 0.0, luck.uniform(0.0, 1.5))))
    at.ended(*renders)
    recovered = time.time() - killed_at
    for render_id, sha256 in renders.items():
        at.same_video(render_id, sha256)
    at.healthy()
    return recovered
