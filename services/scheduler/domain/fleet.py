"""Targets, slots and what a request may be pinned to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from services.scheduler.domain.errors import TargetNotOffered, UnknownTarget

_ROUNDING = 1e-9
"""Three tenths hold a tenth three times, whatever floats say."""


@dataclass(frozen=True, order=True)
class Target:
    """A kind of device in a region. `simulated` when this fleet only imitates the device."""

    gpu_type: str
    region: str
    simulated: bool = False

    def __str__(self) -> str:
        return f"{self.gpu_type}@{self.region}"


class Wish(Protocol):
    """What somebody wants of a target."""

    def admits(self, target: Target) -> bool:
        """Whether `target` will do."""
        ...


@dataclass(frozen=True)
class Pin:
    """What a request insists on; None leaves the choice to the scheduler."""

    gpu_type: str | None = None
    region: str | None = None

    def admits(self, target: Target) -> bool:
        """Whether a request with this pin may run on `target`."""
        return self.gpu_type in (None, target.gpu_type) and self.region in (None, target.region)

    def __str__(self) -> str:
        return f"{self.gpu_type or 'any device'} in {self.region or 'any region'}"


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster: what it says of itself, and how much of everything it has."""

    labels: Mapping[str, str]
    resources: Mapping[str, float]


@dataclass(frozen=True)
class Requirements:
    """What a slot asks of the machine it is on, where machines come and go; nothing on the scheduler's own machine."""

    labels: tuple[tuple[str, str], ...] = ()
    resources: tuple[tuple[str, float], ...] = ()

    def count_on(self, machine: Machine) -> int:
        """How many slots that ask this a machine has room for."""
        if not dict(self.labels).items() <= machine.labels.items():
            return 0
        shares = (machine.resources.get(name, 0.0) / amount for name, amount in self.resources)
        return int(min(shares, default=0.0) + _ROUNDING)


@dataclass(frozen=True)
class Slot:
    """One device a machine offers. `memory_gib` is None for a device without memory of its own (a CPU)."""

    id: str
    target: Target
    device: str
    """What the worker is told to use: "cpu" or "cuda:0"."""
    memory_gib: float | None = None
    requirements: Requirements = Requirements()

    def fits(self, vram_floor_gib: float) -> bool:
        """Whether a version with this floor can run here."""
        return self.memory_gib is None or self.memory_gib >= vram_floor_gib


@dataclass(frozen=True, eq=False)
class SlotKind:
    """Slots that are alike: whatever may run on one of them may run on any."""

    target: Target
    memory_gib: float | None
    requirements: Requirements
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Fleet:
    """The slots this installation has, in the order of preference among equals."""

    name: str
    slots: tuple[Slot, ...]

    @cached_property
    def targets(self) -> list[Target]:
        """The distinct targets, ordered by device and region."""
        return sorted({slot.target for slot in self.slots})

    @cached_property
    def kinds(self) -> tuple[SlotKind, ...]:
        """The slots by kind, in the order in which the first of each comes."""
        alike: dict[tuple[Target, float | None, Requirements], list[Slot]] = {}
        for slot in self.slots:
            alike.setdefault((slot.target, slot.memory_gib, slot.requirements), []).append(slot)
        return tuple(SlotKind(*what, tuple(slots)) for what, slots in alike.items())

    @cached_property
    def kind_of(self) -> Mapping[str, SlotKind]:
        """The kind of each slot, by its id."""
        return {slot.id: kind for kind in self.kinds for slot in kind.slots}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each slot stands in the order of preference, by its id."""
        return {slot.id: place for place, slot in enumerate(self.slots)}

    def room_on(self, machines: Iterable[Machine]) -> tuple[int, ...]:
        """How many slots of each kind these machines have room for, in the order of the kinds."""
        there = list(machines)
        return tuple(
            min(len(kind.slots), sum(kind.requirements.count_on(machine) for machine in there)) for kind in self.kinds
        )

    def check(self, pin: Pin, vram_floor_gib: float, known: Iterable[tuple[str, str]]) -> None:
        """Raise UnknownTarget or TargetNotOffered when no slot could ever serve a request with this pin.

        `known` are further (device, region) pairs that exist although this fleet has none of them.
        """
        pairs = {*known, *((t.gpu_type, t.region) for t in self.targets)}
        gpu_types, regions = sorted({g for g, _ in pairs}), sorted({r for _, r in pairs if r})
        if pin.gpu_type is not None and pin.gpu_type not in gpu_types:
            raise UnknownTarget("gpu_type", pin.gpu_type, gpu_types)
        if pin.region is not None and pin.region not in regions:
            raise UnknownTarget("region", pin.region, regions)
        if not self.kinds_for(pin, vram_floor_gib):
            raise TargetNotOffered(str(pin), [str(t) for t in self._fitting(vram_floor_gib)])

    def kinds_for(self, wish: Wish, vram_floor_gib: float) -> list[SlotKind]:
        """The kinds of slots that may serve a request."""
        return [kind for kind in self.kinds_admitted(wish) if kind.slots[0].fits(vram_floor_gib)]

    def kinds_admitted(self, wish: Wish) -> tuple[SlotKind, ...]:
        """The kinds of slots that may serve a request of a version that fits everywhere."""
        known = self._admitted.get(wish)
        if known is None:
            known = self._admitted[wish] = tuple(kind for kind in self.kinds if wish.admits(kind.target))
        return known

    @cached_property
    def _admitted(self) -> dict[Wish, tuple[SlotKind, ...]]:
        """Looked up again and again for each of those that wait."""
        return {}

    def slots_for(self, wish: Wish, vram_floor_gib: float) -> Sequence[Slot]:
        """The slots that may serve a request."""
        return [slot for kind in self.kinds_for(wish, vram_floor_gib) for slot in kind.slots]

    def _fitting(self, vram_floor_gib: float) -> list[Target]:
        return sorted({kind.target for kind in self.kinds if kind.slots[0].fits(vram_floor_gib)})
