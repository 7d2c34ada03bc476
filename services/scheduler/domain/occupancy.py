"""Which runtimes are on which slots, found by what placement asks for, however large the fleet is."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import islice
from typing import Any

from sortedcontainers import SortedDict

from services.scheduler.domain.fleet import Fleet, Slot, SlotKind
from services.scheduler.domain.runtime import Runtime, RuntimeStatus

_Version = tuple[str, str]


class Occupancy:
    """The runtimes of a fleet. Each question takes as long as there are kinds of slots, not slots."""

    def __init__(self, fleet: Fleet, runtimes: Iterable[Runtime] = (), room: Sequence[int] | None = None) -> None:
        self.fleet = fleet
        self._room: Mapping[SlotKind, int] = {}
        self.make_room(room)
        self._runtimes: dict[str, Runtime] = {}
        self._taken: dict[SlotKind, dict[str, dict[str, Runtime]]] = {kind: {} for kind in fleet.kinds}
        """Who occupies each slot that is taken: two while one makes room for the other."""
        self._free: dict[SlotKind, SortedDict] = {
            kind: SortedDict({fleet.places[slot.id]: slot for slot in kind.slots}) for kind in fleet.kinds
        }
        self._ready: defaultdict[tuple[_Version, SlotKind], SortedDict] = defaultdict(SortedDict)
        """Warm ones that are idle, those used last first."""
        self._unclaimed: defaultdict[tuple[_Version, SlotKind], SortedDict] = defaultdict(SortedDict)
        """Those that start for nobody, the oldest first."""
        self._evictable: defaultdict[SlotKind, SortedDict] = defaultdict(SortedDict)
        """Idle ones that need not be kept, those used longest ago first."""
        self._usable: defaultdict[tuple[_Version, SlotKind], dict[str, Runtime]] = defaultdict(dict)
        """Those that are warm or start."""
        self._kept_idle: Counter[SlotKind] = Counter()
        self._unused: Counter[SlotKind] = Counter()
        """How many are warm or start, and are nobody's."""
        for runtime in runtimes:
            self.put(runtime)

    def make_room(self, room: Sequence[int] | None) -> None:
        """So many slots of each kind, in the fleet's order, are on machines that are there; all of them for None."""
        counts = [len(kind.slots) for kind in self.fleet.kinds] if room is None else room
        self._room = dict(zip(self.fleet.kinds, counts, strict=True))

    def put(self, runtime: Runtime) -> None:
        """A runtime is as told from now on."""
        self.remove(runtime.id)
        self._runtimes[runtime.id] = runtime
        self._note(runtime, is_there=True)

    def remove(self, runtime_id: str) -> Runtime | None:
        """A runtime is gone."""
        runtime = self._runtimes.pop(runtime_id, None)
        if runtime is not None:
            self._note(runtime, is_there=False)
        return runtime

    def get(self, runtime_id: str) -> Runtime | None:
        """A runtime, unless it is gone."""
        return self._runtimes.get(runtime_id)

    def __getitem__(self, runtime_id: str) -> Runtime:
        return self._runtimes[runtime_id]

    def __contains__(self, runtime_id: str) -> bool:
        return runtime_id in self._runtimes

    def all(self) -> ValuesView[Runtime]:
        """Every runtime."""
        return self._runtimes.values()

    def kinds_with_room(self) -> set[SlotKind]:
        """The kinds with a slot that is free, or whose runtime nobody uses: anything placed goes to one of them."""
        return {kind for kind in self.fleet.kinds if self.count_free(kind) or self._unused[kind]}

    def free(self, kinds: Iterable[SlotKind]) -> list[Slot]:
        """The first free slot of each kind that has one."""
        return [self._free[kind].peekitem(0)[1] for kind in kinds if self.count_free(kind)]

    def free_slots(self) -> list[Slot]:
        """Every free slot, in the fleet's order."""
        places = sorted(place for kind, slots in self._free.items() for place in islice(slots, self.count_free(kind)))
        return [self.fleet.slots[place] for place in places]

    def count_free(self, kind: SlotKind) -> int:
        """How many slots of a kind are free."""
        return max(0, self._room[kind] - len(self._taken[kind]))

    def count_absent(self, kind: SlotKind) -> int:
        """How many slots of a kind can be on no machine that is there."""
        return len(kind.slots) - max(self._room[kind], len(self._taken[kind]))

    def ready(self, version: _Version, kinds: Iterable[SlotKind]) -> list[Runtime]:
        """Of each kind the warm runtime of a version that is idle and was used last."""
        return _firsts(self._ready.get((version, kind)) for kind in kinds)

    def unclaimed(self, version: _Version, kinds: Iterable[SlotKind]) -> list[Runtime]:
        """Of each kind the oldest runtime of a version that starts for nobody."""
        return _firsts(self._unclaimed.get((version, kind)) for kind in kinds)

    def evictable(self, kinds: Iterable[SlotKind]) -> list[Runtime]:
        """Of each kind the runtime that has been idle longest, of any version, among those that need not be kept."""
        return _firsts(self._evictable.get(kind) for kind in kinds)

    def usable(self, version: _Version, kinds: Iterable[SlotKind]) -> Iterator[Runtime]:
        """Every runtime of a version that is warm or starts."""
        for kind in kinds:
            yield from self._usable.get((version, kind), {}).values()

    def occupying(self, kind: SlotKind) -> Iterator[Runtime]:
        """The runtime that each taken slot of a kind has, the newer one where another makes room for it."""
        return (runtimes[max(runtimes)] for runtimes in self._taken[kind].values())

    def count_kept_idle(self, kinds: Sequence[SlotKind]) -> int:
        """How many idle runtimes are kept warm."""
        return sum(self._kept_idle[kind] for kind in kinds)

    def _note(self, runtime: Runtime, *, is_there: bool) -> None:
        kind = self.fleet.kind_of.get(runtime.slot_id)
        if kind is None:  # its slot is no longer in the fleet file
            return
        if runtime.occupies_slot:
            self._occupy(runtime, kind, is_there=is_there)
        if runtime.status not in (RuntimeStatus.STARTING, RuntimeStatus.WARM):
            return
        version, used, change = (
            (runtime.slug, runtime.model_version),
            runtime.last_used_at.timestamp(),
            1 if is_there else -1,
        )
        _keep(self._usable[version, kind], runtime.id, runtime, is_there=is_there)
        if runtime.is_busy:
            return
        self._unused[kind] += change
        if runtime.status is RuntimeStatus.STARTING:
            _keep(self._unclaimed[version, kind], runtime.id, runtime, is_there=is_there)
            return
        _keep(self._ready[version, kind], (-used, runtime.id), runtime, is_there=is_there)
        if runtime.keep_warm:
            self._kept_idle[kind] += change
        else:
            _keep(self._evictable[kind], (used, runtime.id), runtime, is_there=is_there)

    def _occupy(self, runtime: Runtime, kind: SlotKind, *, is_there: bool) -> None:
        taken, place = self._taken[kind], self.fleet.places[runtime.slot_id]
        if is_there:
            taken.setdefault(runtime.slot_id, {})[runtime.id] = runtime
            self._free[kind].pop(place, None)
            return
        del taken[runtime.slot_id][runtime.id]
        if not taken[runtime.slot_id]:
            del taken[runtime.slot_id]
            self._free[kind][place] = self.fleet.slots[place]


def _firsts(found: Iterable[SortedDict | None]) -> list[Runtime]:
    return [some.peekitem(0)[1] for some in found if some]


def _keep(where: Any, key: Any, runtime: Runtime, *, is_there: bool) -> None:
    if is_there:
        where[key] = runtime
    else:
        del where[key]
