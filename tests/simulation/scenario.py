"""What a seed stands for: a fleet, its customers, and what is going to break."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from services.scheduler.domain.fleet import Fleet
from services.scheduler.domain.policy import Policy
from tests.simulation.customers import Wish
from tests.simulation.device import BROKEN, POISON
from tests.simulation.nemesis import KINDS, Blow
from tests.simulation.surroundings import SLUG, TARGETS, VERSIONS, fleet
from tests.simulation.virtual_time import EPOCH

MOST_BLOWS = 6


@dataclass(frozen=True)
class Scenario:
    """Drawn once, before anything happens."""

    fleet: Fleet
    policy: Policy
    wishes: tuple[Wish, ...]
    blows: tuple[Blow, ...]
    step_seconds: float
    load_seconds: float
    libraries_differ: bool
    """Whether a checkpoint made on one target is refused on the other."""
    runs_out_of_memory: float
    """Probability that a render does, while nobody spoils the devices."""

    @property
    def patience_seconds(self) -> float:
        """How long after the last thing was mended renders may take: a circuit alone keeps them for 600 s at a time."""
        poisonous = sum(wish.body["prompt"] == POISON for wish in self.wishes)
        return 1500.0 + 3 * 600.0 * poisonous

    @property
    def calm_at(self) -> float:
        """When the last thing is mended."""
        return max((blow.at + blow.seconds for blow in self.blows), default=0.0)


def drawn(rng: Random, kinds: Sequence[str] = KINDS) -> Scenario:
    """A small scenario in which some of `kinds` break. Each has only a few, so that rare ones are not drowned."""
    is_crowd = rng.random() < 0.1
    accounts = [f"acct-{n}" for n in range(2 if is_crowd else rng.randint(1, 4))]
    has_two_versions, has_poison = rng.random() < 0.3, rng.random() < 0.1
    window = rng.uniform(5.0, 40.0)
    steps = rng.randint(1, 5)
    if is_crowd:
        wishes = [_plain(rng, n, accounts[n > 5], 0.2 * n, steps) for n in range(8)]
    else:
        wishes = [
            _wish(rng, n, rng.choice(accounts), window, steps, has_two_versions=has_two_versions, has_poison=has_poison)
            for n in range(rng.randint(2, 7))
        ]
    kinds = rng.sample(kinds, min(rng.randint(0, 1 if is_crowd else 4), len(kinds)))
    blows = [_blow(rng, rng.choice(kinds), window) for _ in range(rng.randint(1, MOST_BLOWS) if kinds else 0)]
    return Scenario(
        fleet=fleet(1, 0) if is_crowd else fleet(rng.randint(1, 3), rng.randint(0, 2)),
        policy=Policy(
            lease_seconds=rng.choice((10.0, 10.0, 30.0)),
            drain_seconds=rng.choice((0.0, 0.0, 5.0)),
            idle_release_seconds=rng.choice((20.0, 900.0)),
            scale_in_seconds=rng.choice((5.0, 120.0)),
            queue_ttl=timedelta(seconds=rng.uniform(3.0, 40.0)) if rng.random() < 0.25 else None,
            paused_ttl=timedelta(seconds=rng.choice((30.0, 86_400.0))),
            max_queued_per_account=None if is_crowd else rng.choice((None, None, None, 3)),
            max_running_per_account=rng.choice((None, None, None, 1)),
        ),
        wishes=tuple(wishes),
        blows=tuple(sorted(blows, key=lambda blow: blow.at)),
        step_seconds=rng.choice((0.5, 1.5, 3.0)),
        load_seconds=rng.uniform(1.0, 8.0),
        libraries_differ=rng.random() < 0.2,
        runs_out_of_memory=0.3 if rng.random() < 0.15 else 0.0,
    )


def _plain(rng: Random, number: int, account: str, at: float, steps: int) -> Wish:
    """A wish like all others, of somebody who wants a lot or of somebody who comes later and wants little."""
    body = {
        "model": SLUG,
        "prompt": f"film {number}",
        "num_inference_steps": steps,
        "num_frames": 8,
        "seed": rng.randint(0, 9),
    }
    return Wish(account=account, at=at, key=f"key-{number}", body=body)


def _wish(
    rng: Random, number: int, account: str, window: float, steps: int, *, has_two_versions: bool, has_poison: bool
) -> Wish:
    at = rng.choice((0.0, rng.uniform(0.0, window)))
    plain = _plain(rng, number, account, at, steps)
    body: dict[str, Any] = dict(plain.body)
    if has_two_versions:
        body["model_version"] = rng.choice(VERSIONS)
    if has_poison and rng.random() < 0.2:
        body["prompt"] = POISON
    elif rng.random() < 0.03:
        body["prompt"] = BROKEN
    if rng.random() < 0.15:
        body["priority"] = rng.choice(("low", "high"))
    if rng.random() < 0.1:
        body["prefer"] = "fastest"
    if rng.random() < 0.1:
        body["gpu_type"] = TARGETS[0].gpu_type
    if rng.random() < 0.1:
        body["deadline"] = (EPOCH + timedelta(seconds=at + rng.uniform(3.0, 60.0))).isoformat()
    if rng.random() < 0.05:
        body["max_cost_usd"] = rng.choice((0.001, 0.01, 1.0))
    if rng.random() < 0.1:
        body["on_out_of_memory"] = "fail"
    pauses = rng.random() < 0.2
    if pauses:
        body["pause_after_step"] = rng.randint(1, steps)
    return replace(
        plain,
        body=body,
        twins=rng.choice((1, 1, 1, 3)),
        infers=not pauses and rng.random() < 0.2,
        cancels_after=rng.uniform(0.0, 30.0) if rng.random() < 0.2 else None,
        watchers=rng.choice((1, 1, 1, 2)),
        when_paused=rng.choice(("continue", "continue", "branch", "cancel", "leave")),
        retries=rng.random() < 0.5 and body["prompt"] != POISON,
    )


def _blow(rng: Random, kind: str, window: float) -> Blow:
    seconds = rng.choice((rng.uniform(0.2, 5.0), rng.uniform(5.0, 60.0)))
    return Blow(rng.uniform(0.0, 1.5 * window), kind, seconds, rng.getrandbits(32))
