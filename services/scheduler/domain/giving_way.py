"""Which runs of probes give way to a render that waits."""

from collections.abc import Collection

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.placement import Situation, Wait
from services.scheduler.domain.runtime import Runtime, RuntimeStatus


def room_for(demand: Demand, wait: Wait, situation: Situation, held: Collection[str]) -> list[Runtime]:
    """The runtimes among those `held` by probes that a waiting render could have, the one of use soonest first.

    A runtime of its own version is of use as it is, also while it starts. One of another version is only where no slot
    is free, and never when it is kept warm: a start can be abandoned at once, a run ends with its step.
    """
    fleet = situation.fleet
    open_kinds = {
        kind for kind in fleet.kinds_for(demand, situation.vram_floor_gib) if situation.lets_through(kind.target)
    }
    found: list[tuple[int, Runtime]] = []
    for name in held:
        runtime = situation.occupancy.get(name)
        if runtime is None or fleet.kind_of.get(runtime.slot_id) not in open_kinds:
            continue
        is_starting = runtime.status is RuntimeStatus.STARTING
        if runtime.runs(demand.slug, demand.model_version):
            found.append((1 if is_starting else 0, runtime))
        elif wait.is_full and not runtime.keep_warm:
            found.append((2 if is_starting else 3, runtime))
    return [runtime for _, runtime in sorted(found, key=lambda each: (each[0], each[1].id))]
