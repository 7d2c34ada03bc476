"""What the scheduler asks besides workers and store: catalogue, estimates, fleet. Sometimes nobody answers."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.chassis.errors import ServiceUnavailable, Violation
from services.scheduler.domain.fleet import Fleet, Slot, Target
from services.scheduler.domain.trace import ToldSpans
from services.scheduler.ports import Estimate, EstimatesByTarget, Version

SLUG, VERSIONS = "film", ("1", "2")
_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "prompt": {"type": "string", "x-forge-free": True},
    "num_inference_steps": {"type": "integer", "default": 6},
    "num_frames": {"type": "integer", "default": 16},
    "seed": {"type": "integer", "default": 0},
}


class Surroundings:
    """The ports `Catalog`, `Estimates`, `InputChecker` and `ImageInputs`, for a model with two versions."""

    def __init__(self, *, request_seconds: float, start_seconds: float, max_run_seconds: float) -> None:
        self.is_away = False
        """Whether nobody answers."""
        self._estimate = Estimate(
            request_seconds=request_seconds,
            start_seconds=start_seconds,
            warm_usd=request_seconds / 3600,
            cold_usd=(request_seconds + start_seconds) / 3600,
            usd_per_hour=1.0,
        )
        self._max_run_seconds = max_run_seconds

    async def version(self, slug: str, model_version: str | None) -> Version:
        """One of the two versions. Raises ServiceUnavailable."""
        await self._answer()
        return Version(
            slug=slug,
            model_version=model_version or VERSIONS[0],
            pipeline="Film",
            weights_repository="",
            weights_revision="",
            weights_dtype="float32",
            vram_floor_gib=1.0,
            schema={"properties": _PROPERTIES},
            rules=(),
            effects=(),
            known_targets=(),
            max_run_seconds=self._max_run_seconds,
        )

    async def of(self, slug: str, model_version: str, shape: object = None) -> EstimatesByTarget:
        """The same everywhere; nothing while nobody answers."""
        return {} if self.is_away else {(target.gpu_type, target.region): self._estimate for target in TARGETS}

    def check(self, properties: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Any]) -> list[Violation]:
        """Everything is fine."""
        return []

    async def resolved(self, value: str, account: str | None) -> str:
        """Nobody names an image."""
        raise AssertionError(value)

    async def of_render(self, trace_id: str, render_id: str) -> ToldSpans:
        """Nothing is traced."""
        return ToldSpans(())

    async def _answer(self) -> None:
        if self.is_away:
            await asyncio.sleep(0.05)
            raise ServiceUnavailable("the catalogue")


TARGETS = (Target("A", "here"), Target("B", "there"))


def fleet(slots_of_a: int, slots_of_b: int) -> Fleet:
    """So many slots of each of the two targets."""
    slots = [Slot(f"A-{n}", TARGETS[0], "cuda:0", 80.0) for n in range(slots_of_a)]
    slots += [Slot(f"B-{n}", TARGETS[1], "cuda:0", 80.0) for n in range(slots_of_b)]
    return Fleet("simulated", tuple(slots))
