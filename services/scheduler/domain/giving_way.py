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
    open_slots = {
        slot.id
        for slot in situation.fleet.slots_for(demand, situation.vram_floor_gib)
        if situation.lets_through(slot.target)
    }
    found: list[tuple[int, Runtime]] = []
    for runtime in situation.runtimes:
        if runtime.id not in held or runtime.slot_id not in open_slots:
            continue
        is_starting = runtime.status is RuntimeStatus.STARTING
        if runtime.runs(demand.slug, demand.model_version):
            found.append((1 if is_starting else 0, runtime))
        elif wait.is_full and not runtime.keep_warm:
            found.append((2 if is_starting else 3, runtime))
    return [runtime for _, runtime in sorted(found, key=lambda each: (each[0], each[1].id))]
