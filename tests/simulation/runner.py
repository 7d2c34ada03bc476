"""Runs seeds, one or many, and says how each went."""

import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from tests.simulation.nemesis import KINDS
from tests.simulation.world import World

PROCESSES = 2
STORY_LINES = 60
_SEEDS_AT_ONCE = 8


@dataclass(frozen=True)
class Result:
    """How a seed went. `promise` and `what` are empty when every promise was kept."""

    seed: int
    fingerprint: str
    """The same whenever and wherever the seed is run."""
    renders: int
    virtual_seconds: float
    cpu_seconds: float
    promise: str
    what: str
    story: list[str]

    @property
    def is_green(self) -> bool:
        """Whether every promise was kept."""
        return not self.what

    def told(self) -> str:
        """What to show of a seed that broke a promise."""
        return "\n".join(
            [
                f"seed {self.seed} broke promise {self.what}",
                f"the last {STORY_LINES} lines of its story:",
                *self.story[-STORY_LINES:],
                f"replay it with: python -m tests.simulation --seed {self.seed} -v",
            ]
        )


def run_seed(seed: int, *, kinds: Sequence[str] = KINDS, with_story: bool = False) -> Result:
    """Run one seed. Its story is kept when it broke a promise or when it is asked for, then with the product's logs.

    Only some of `kinds` are broken in it; fewer of them make another story of the same seed.
    """
    began = time.process_time()
    with _logs_kept_off():
        world = World(seed, kinds)
        if with_story:
            structlog.configure(processors=[_told_to(world)], wrapper_class=structlog.BoundLogger)
        outcome = world.run()
    return Result(
        seed=seed,
        fingerprint=outcome.fingerprint,
        renders=outcome.renders,
        virtual_seconds=outcome.virtual_seconds,
        cpu_seconds=time.process_time() - began,
        promise=outcome.broken.promise if outcome.broken else "",
        what=str(outcome.broken or ""),
        story=outcome.record.lines() if with_story or outcome.broken else [],
    )


def run_seeds(seeds: Iterable[int]) -> Iterator[Result]:
    """Run many seeds on processes of their own, in order."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        yield from pool.imap(run_seed, seeds, chunksize=_SEEDS_AT_ONCE)


@contextmanager
def _logs_kept_off() -> Iterator[None]:
    """The product's logs go nowhere while the block runs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        yield
    finally:
        structlog.configure(**before)


def _told_to(world: World) -> Any:
    def tell(_logger: Any, level: str, event: dict[str, Any]) -> Any:
        world.record(f"LOG {level} " + " ".join(f"{name}={value}" for name, value in sorted(event.items())))
        raise structlog.DropEvent

    return tell
