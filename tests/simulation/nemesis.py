"""Somebody who breaks things on purpose, by a plan that the seed drew."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.network import Weather
from tests.simulation.scheduler_host import NAME

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True)
class Blow:
    """One thing that is broken, when, and for how long."""

    at: float
    kind: str
    seconds: float
    dice: int
    """Decides what is left to decide when it is struck."""


async def strike(world: "World", blow: Blow) -> None:
    """Break one thing, and mend it after its time."""
    await asyncio.sleep(blow.at)
    world.record(f"NEMESIS {blow.kind} for {blow.seconds:.1f} s")
    await _BLOWS[blow.kind](world, blow, Random(blow.dice))


async def _crash_scheduler(world: "World", blow: Blow, _rng: Random) -> None:
    world.scheduler.restart_seconds = blow.seconds
    world.is_disturbed |= blow.seconds > world.scenario.policy.lease_seconds / 2
    if world.scheduler.process is not None:
        world.scheduler.process.kill()


async def _crash_at_commit(world: "World", blow: Blow, _rng: Random) -> None:
    world.scheduler.restart_seconds = blow.seconds
    world.is_disturbed |= blow.seconds > world.scenario.policy.lease_seconds / 2
    process = world.scheduler.process
    if process is not None:
        world.disk.crash_at_commit = process.kill


async def _stop_scheduler(world: "World", blow: Blow, _rng: Random) -> None:
    world.scheduler.restart_seconds = min(blow.seconds, 5.0)
    world.scheduler.stop()


async def _pause_scheduler(world: "World", blow: Blow, _rng: Random) -> None:
    process = world.scheduler.process
    if process is not None:
        world.is_disturbed = world.scheduler.has_missed_time = True
        process.pause()
        await asyncio.sleep(blow.seconds)
        process.go_on()


async def _crash_worker(world: "World", _blow: Blow, rng: Random) -> None:
    if victims := world.machines.victims():
        worker = rng.choice(victims)
        world.record(f"kill -9 {worker.process}")
        worker.hurt()


async def _pause_worker(world: "World", blow: Blow, rng: Random) -> None:
    if victims := world.machines.victims():
        worker = rng.choice(victims)
        world.record(f"SIGSTOP {worker.process}")
        worker.is_hurt = True
        worker.process.pause()
        await asyncio.sleep(blow.seconds)
        world.record(f"SIGCONT {worker.process}")
        worker.process.go_on()


async def _stop_worker(world: "World", _blow: Blow, rng: Random) -> None:
    if victims := world.machines.victims():
        worker = rng.choice(victims)
        world.record(f"SIGTERM {worker.process}")
        worker.process.stop()


async def _cut(world: "World", blow: Blow, rng: Random) -> None:
    names = [worker.process.name for worker in world.machines.victims()]
    names += [f"client {wish.account}" for wish in world.scenario.wishes]
    other = rng.choice(names)
    world.is_disturbed = True
    ways = rng.choice((((NAME, other),), ((other, NAME),), ((NAME, other), (other, NAME))))
    for source, target in ways:
        world.record(f"nothing gets from {source} to {target}")
        world.network.cut(source, target)
    await asyncio.sleep(blow.seconds)
    world.network.heal(*ways)


async def _storm(world: "World", blow: Blow, rng: Random) -> None:
    world.is_disturbed = True
    calm = world.network.weather
    world.network.weather = Weather(
        loses=rng.choice((0.0, 0.05, 0.2)),
        delays=rng.choice((0.0, 0.1, 0.3)),
        repeats=rng.choice((0.0, 0.2, 0.5)),
        breaks=rng.choice((0.0, 0.0, 0.02)),
        hangs=rng.choice((0.0, 0.0, 0.02)),
    )
    await asyncio.sleep(blow.seconds)
    world.network.weather = calm


async def _fill_disk(world: "World", blow: Blow, _rng: Random) -> None:
    world.disk.is_full = True
    await asyncio.sleep(blow.seconds)
    world.disk.is_full = False


async def _fill_objects(world: "World", blow: Blow, _rng: Random) -> None:
    world.objects.is_full = True
    await asyncio.sleep(blow.seconds)
    world.objects.is_full = False


async def _fail_objects(world: "World", blow: Blow, _rng: Random) -> None:
    world.objects.fails = 0.3
    await asyncio.sleep(blow.seconds)
    world.objects.fails = 0.0


async def _jump(world: "World", _blow: Blow, rng: Random) -> None:
    world.scheduler.jump(rng.choice((-600.0, -40.0, 40.0, 600.0)))


async def _silence_catalogue(world: "World", blow: Blow, _rng: Random) -> None:
    world.surroundings.is_away = True
    await asyncio.sleep(blow.seconds)
    world.surroundings.is_away = False


async def _spoil_devices(world: "World", blow: Blow, rng: Random) -> None:
    world.machines.fails_launch = rng.choice((0.0, 0.5))
    temper = world.temper
    temper.fails_load = rng.choice((0.0, 0.5))
    temper.runs_out_of_memory = rng.choice((0.0, 0.5))
    temper.fails = rng.choice((0.0, 0.0, 0.3))
    temper.stalls = rng.choice((0.0, 0.0, 0.3))
    await asyncio.sleep(blow.seconds)
    world.machines.fails_launch = temper.fails_load = temper.fails = temper.stalls = 0.0
    temper.runs_out_of_memory = world.scenario.runs_out_of_memory


_BLOWS: Mapping[str, Callable[["World", Blow, Random], Awaitable[None]]] = {
    "crash the scheduler": _crash_scheduler,
    "crash the scheduler at a commit": _crash_at_commit,
    "stop the scheduler": _stop_scheduler,
    "pause the scheduler": _pause_scheduler,
    "crash a worker": _crash_worker,
    "pause a worker": _pause_worker,
    "stop a worker": _stop_worker,
    "cut the network": _cut,
    "storm": _storm,
    "fill the disk": _fill_disk,
    "fill the object store": _fill_objects,
    "fail the object store": _fail_objects,
    "jump the clock": _jump,
    "silence the catalogue": _silence_catalogue,
    "spoil the devices": _spoil_devices,
}
KINDS = tuple(_BLOWS)
