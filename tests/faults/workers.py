"""Workers that die, hang, or come back as zombies."""

from random import Random

from tests.faults.ground import Ground, expect, thaw
from tests.faults.reading import attempts_of, moment, noticed_after
from tests.faults.settings import CHECKPOINT_SECONDS, LEASE_SECONDS

_SLACK_SECONDS = 0.5
"""What taking and storing a checkpoint, and the polling of this harness, may add to an interval."""


def killed_at_60_percent(at: Ground, luck: Random) -> float:
    """Resumed with at most one checkpoint interval of steps made twice; the video is that of an undisturbed render.

    Recovery is until the first new step.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    render_id = at.submit(body)
    at.denoising(render_id, share=0.6)
    killed_at = at.kill(at.worker_of(render_id))
    noticed = noticed_after(at, render_id, killed_at)
    expect(noticed <= 1.0, f"the loss was noticed after {noticed:.1f} s")
    ended = at.ended(render_id)
    at.same_video(render_id, expected)
    first, second = attempts_of(ended, ["lost", "succeeded"])
    expect(second["resumed_steps"] > 0, "it began again instead of going on from its checkpoint")
    steps = [event for event in at.ledger.events(render_id) if event["phase"] == "denoising"]
    before = [event for event in steps if event["attempt"] == first["attempt"]]
    newest = moment(before[-1]["at"]) - CHECKPOINT_SECONDS - _SLACK_SECONDS
    kept = max((event["progress"]["done_steps"] for event in before if moment(event["at"]) <= newest), default=0)
    expect(second["resumed_steps"] >= kept, f"{kept} steps were safe, and {second['resumed_steps']} were resumed")
    again = [event for event in steps if event["attempt"] == second["attempt"]]
    return max(0.0, moment(again[1]["at"]) - killed_at)


def noticed_at_once(at: Ground, luck: Random) -> float:
    """A worker whose connection closes is known to be lost within a second. Recovery is until then."""
    render_id = at.submit(at.body("medium", seed=at.seed(luck)))
    at.denoising(render_id, share=luck.uniform(0.1, 0.8))
    noticed = noticed_after(at, render_id, at.kill(at.worker_of(render_id)))
    expect(noticed <= 1.0, f"the loss was noticed after {noticed:.1f} s")
    at.ended(render_id)
    return noticed


def hung(at: Ground, luck: Random) -> float:
    """A worker that hangs is known to be lost within its lease and two seconds. Recovery is until then."""
    render_id = at.submit(at.body("medium", seed=at.seed(luck)))
    at.denoising(render_id, share=luck.uniform(0.1, 0.8))
    noticed = noticed_after(at, render_id, at.freeze(at.worker_of(render_id)))
    expect(noticed <= LEASE_SECONDS + 2.0, f"the loss was noticed after {noticed:.1f} s")
    at.ended(render_id)
    return noticed


def zombie(at: Ground, luck: Random) -> float:
    """It changes nothing: its render is another worker's by then, whose video is published.

    Recovery is until the other attempt has begun.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    render_id = at.submit(body)
    at.denoising(render_id, share=luck.uniform(0.2, 0.9))
    worker = at.worker_of(render_id)
    frozen_at = at.freeze(worker)
    taken = at.reached(render_id, lambda body: body["attempt"] == 2, what="the second attempt", seconds=60)
    thaw(worker)
    ended = at.ended(render_id)
    at.same_video(render_id, expected)
    attempts_of(ended, ["lost", "succeeded"])
    noticed = noticed_after(at, render_id, frozen_at)
    expect(noticed <= LEASE_SECONDS + 2.0, f"the loss was noticed after {noticed:.1f} s")
    late = [
        event for event in at.ledger.events(render_id) if event["seq"] >= taken["last_seq"] and event["attempt"] == 1
    ]
    expect(not late, f"the zombie wrote {late}")
    return moment(taken["attempts"][1]["began_at"]) - frozen_at
