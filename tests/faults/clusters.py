"""A Ray cluster that loses actors, machines and its head while renders run on it."""

import time
from collections.abc import Mapping
from random import Random
from typing import Any

from tests.faults.ground import Body, Ground, add_machine, add_machines, expect
from tests.faults.reading import attempts_of, moment
from tests.faults.settings import GENERAL, MACHINES, QUICK_MACHINES, SPARE
from tests.platforms import SVD


def actor_killed(at: Ground, luck: Random) -> float:
    """Its worker stores where it stands, and the render goes on from that very step; the video is the same.

    Recovery is until the first new step.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    render_id = at.submit(body)
    at.denoising(render_id, share=luck.uniform(0.3, 0.7))
    killed_at = at.kill(*at.worker_of(render_id).parents()[:1])
    ended = at.ended(render_id)
    at.same_video(render_id, expected)
    first, second = attempts_of(ended, ["released", "succeeded"])
    steps = [event for event in at.ledger.events(render_id) if event["phase"] == "denoising"]
    done = max(event["progress"]["done_steps"] for event in steps if event["attempt"] == first["attempt"])
    expect(second["resumed_steps"] >= done, f"{done} steps were done, and {second['resumed_steps']} were resumed")
    return _first_step(steps, second) - killed_at


def machine_lost(at: Ground, luck: Random) -> float:
    """Every process of it ends at once. The render goes on from its checkpoint on a machine with the same labels.

    The video is the same. Recovery is until the first new step.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    add_machine(at.cluster, GENERAL)
    render_id = at.submit(body)
    at.denoising(render_id, share=0.6)
    lost = _machine_of(at, render_id)
    killed_at = time.time()
    at.cluster.kill(lost)
    ended = at.ended(render_id)
    at.same_video(render_id, expected)
    first, *between, last = ended["attempts"]
    expect((first["outcome"], last["outcome"]) == ("lost", "succeeded"), f"its attempts went {ended['attempts']}")
    expect(all(attempt["outcome"] == "released" for attempt in between), f"its attempts went {ended['attempts']}")
    expect(all(not attempt["gpu_seconds"] for attempt in between), "waiting for a machine was charged")
    expect(last["resumed_steps"] > 0, "it began again instead of going on from its checkpoint")
    return _first_step(at.ledger.events(render_id), last) - killed_at


def head_killed(at: Ground, luck: Random) -> float:
    """Renders that run end in the same attempt, and warm runtimes take new ones. What needs a start waits.

    Recovery is from when there is another cluster at its address until what waited has ended.
    """
    at.ended(at.submit(at.body()))
    at.platform.forge("stop", SVD, "--gpu-type", SPARE)
    body = at.body("long", seed=at.seed(luck))
    running = at.submit(body)
    at.denoising(running, share=0.2)
    at.afterwards(_heal, at)
    at.cluster.kill_head()
    at.until(lambda: not at.get("/v1/capacity").json()["targets"][0]["free_slots"], what="noticing the loss")
    waiting = at.submit(at.body(gpu_type=SPARE))
    attempts_of(at.ended(running), ["succeeded"])
    attempts_of(at.ended(at.submit(at.body())), ["succeeded"])
    status = (at.ledger.body(waiting) or {})["status"]
    expect(status == "queued", f"what needs a start is {status} while the cluster has no head")
    _heal(at)
    since = time.time()
    at.ended(waiting)
    return time.time() - since


def each_on_its_target(at: Ground, luck: Random) -> None:
    """500 renders, pinned to a device, to a region, to both or to nothing: each runs where it may.

    What a record names as the render's target are the labels of the machine that made its video.
    """
    kinds = {
        node.labels["ray.io/accelerator-type"]: node.labels["ray.io/availability-region"] for node in at.cluster.nodes
    }
    pins: list[Mapping[str, str]] = [{}, *({"region": region} for region in sorted(set(kinds.values())))]
    pins += [
        pin
        for gpu_type, region in kinds.items()
        for pin in ({"gpu_type": gpu_type}, {"gpu_type": gpu_type, "region": region})
    ]
    wanted = [luck.choice(pins) for _ in range(at.size(quick=12, full=500))]
    body = at.platform.small(SVD)
    rendered = {at.submit(body | {"seed": seed} | dict(pin)): pin for seed, pin in enumerate(wanted)}
    at.ended(*rendered, seconds=60 + 2 * len(rendered))
    runtimes = at.ledger.runtimes()
    labels = {node.address: node.labels for node in at.cluster.nodes}
    there = dict.fromkeys(kinds, 0)
    for render_id, pin in rendered.items():
        made = (at.ledger.body(render_id) or {})["attempts"][-1]
        target = made["target"]
        expect(pin.items() <= target.items(), f"{render_id} asked for {pin} and ran on {target}")
        host = runtimes[made["runtime_id"]]["address"].rpartition(":")[0]
        found = labels[host]["ray.io/accelerator-type"], labels[host]["ray.io/availability-region"]
        expect(found == (target["gpu_type"], target["region"]), f"{render_id} on {target} ran on a machine of {found}")
        there[target["gpu_type"]] += 1
    at.remarks.append(", ".join(f"{count} on {gpu_type}" for gpu_type, count in there.items()))


def _heal(at: Ground) -> None:
    """Have the cluster start again, if it has no head."""
    if at.cluster.head is None:
        at.cluster.stop()
        at.cluster.start_head()
        add_machines(at.cluster, at.size(quick=QUICK_MACHINES, full=len(MACHINES)))


def _machine_of(at: Ground, render_id: str) -> Any:
    """The machine whose process renders it."""
    worker = at.worker_of(render_id)
    return next(node for node in at.cluster.nodes if worker in node.processes())


def _first_step(events: list[Body], attempt: Body) -> float:
    """When an attempt has made its first step, on the wall clock."""
    mine = [event for event in events if event["phase"] == "denoising" and event["attempt"] == attempt["attempt"]]
    return moment(mine[1]["at"])
