"""What tests of probes share: a catalogue that says what to probe, and ways to wait for one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.scheduler.domain.fleet import Fleet, Pin, Slot, Target
from services.scheduler.domain.probe import Probe
from services.scheduler.ports import Version
from services.scheduler.usecases.probes import Probes
from tests.unit.scheduler.house_bench import FixedCatalog, House

EXAMPLE = {"prompt": "a cat", "num_frames": 17.0, "model": "alpha", "model_version": "v1"}
SIZES = ({"num_frames": 5.0}, {"num_frames": 9.0})
CPU = Target("CPU", "local")
ONE_SLOT = Fleet("test", (Slot("slot-0", CPU, "cpu"),))


class ProbedCatalog(FixedCatalog):
    """A catalogue whose versions say what to probe."""

    def __init__(self, example: Any = EXAMPLE, sizes: Any = SIZES) -> None:
        super().__init__()
        self._example, self._sizes = example, sizes

    async def version(self, slug: str, model_version: str | None) -> Version:
        version = await super().version(slug, model_version)
        return replace(version, example=self._example, probe_inputs=self._sizes)


def probes_of(house: House) -> Probes:
    assert house.assembly.probes is not None
    return house.assembly.probes


async def made(house: House, slug: str = "alpha", pin: Pin | None = None, runs: int = 0) -> Probe:
    """The one probe that is made."""
    (probe,) = await probes_of(house).create(slug, "", pin or Pin(), runs)
    return probe


async def until(house: House, probe: Probe, holds: Callable[[Probe], Any]) -> Probe:
    """Wait for a probe to be as asked."""
    for _ in range(4_000):
        probe = await probes_of(house).get(probe.id)
        if holds(probe):
            return probe
        await house.clock.sleep(0.5)
    raise AssertionError(f"the probe stays as it is: {probe}")


async def ended(house: House, probe: Probe) -> Probe:
    return await until(house, probe, lambda now: not now.is_under_way)


def renders(now: Probe) -> bool:
    """Whether a run is at its steps."""
    return "denoising" in now.message


def at_run(number: int) -> Callable[[Probe], bool]:
    """Whether this run, from 0, is at its steps."""
    return lambda now: now.number == number and renders(now)
