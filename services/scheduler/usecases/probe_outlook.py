"""Whether a run of a probe can begin now, and why not."""

from collections.abc import Sequence
from dataclasses import replace

from services.chassis.errors import ForgeError, Kind
from services.scheduler.domain.demand import Demand
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Slot
from services.scheduler.domain.placement import Wait, place
from services.scheduler.domain.probe import PROBE_ACCOUNT, Probe
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.ports import Catalog, RenderStore
from services.scheduler.usecases.giving_way import GivingWay
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.runtimes import Runtimes


class ProbeOutlook:
    """What a probe waits for, and how one stands at this moment."""

    def __init__(
        self,
        *,
        outlook: Outlook,
        runtimes: Runtimes,
        queue: Queue,
        giving_way: GivingWay,
        catalog: Catalog,
        store: RenderStore,
    ) -> None:
        self._outlook = outlook
        self._giving_way = giving_way
        self._runtimes = runtimes
        self._queue = queue
        self._catalog = catalog
        self._store = store

    async def why_it_waits(self, probe: Probe) -> str:
        """Why the next run of a probe cannot begin now; empty when it can, or can never: then its render says why."""
        target = probe.target
        try:
            version = await self._catalog.version(probe.slug, probe.model_version)
        except ForgeError as error:
            return "waits: the catalogue does not answer" if error.kind is Kind.UNAVAILABLE else ""
        demand = Demand(probe.slug, probe.model_version, probe.pin, Prefer.CHEAPEST, in_the_background=True)
        slots = self._outlook.fleet.slots_for(demand, version.vram_floor_gib)
        if not slots:
            return ""
        if before := self._waiting_for(slots):
            return f"waits: {before} {'renders wait' if before > 1 else 'render waits'} for {target}"
        if any(self._could_have(claim, slots) for claim in self._giving_way.claims):
            return f"waits: a runtime is to start on {target} first"
        choice = place(demand, await self._outlook.situation(version), ahead=0)
        if not isinstance(choice, Wait):
            return ""
        holder = self._first_to_leave(slots) if choice.is_full else None
        return f"waits: {self._words_of(holder, slots) if holder else choice.why}"

    async def stands(self, probe: Probe, others: Sequence[Probe]) -> Probe:
        """A probe with what it does now or why it waits. `others` are all that are under way."""
        if not probe.is_under_way:
            return probe
        step = f"run {probe.number + 1} of {len(probe.runs)}"
        if probe.run.render_id and (render := await self._store.get(PROBE_ACCOUNT, probe.run.render_id)):
            runs = list(probe.runs)
            runs[probe.number] = replace(probe.run, status=render.status)
            return replace(probe, runs=tuple(runs), message=f"{step}: {await self._words_of_render(render)}")
        first = next((other for other in others if _is_before(other, probe)), None)
        if first is not None:
            return replace(probe, message=f"waits: {first.slug} is probed on {probe.target} first")
        return replace(probe, message=await self.why_it_waits(probe) or f"{step} is about to begin")

    def _waiting_for(self, slots: Sequence[Slot]) -> int:
        """How many renders wait that could have one of the slots."""
        return sum(count for demand, count in self._queue.counts().items() if self._could_have(demand, slots))

    def _could_have(self, demand: Demand, slots: Sequence[Slot]) -> bool:
        """Whether others that ask for `demand` could have one of the slots."""
        mine = {slot.id for slot in slots}
        return any(slot.id in mine for slot in self._outlook.fleet.slots_for(demand, 0.0))

    def _first_to_leave(self, slots: Sequence[Slot]) -> Runtime | None:
        """The runtime on one of the slots that frees it soonest by itself; a busy one where none is known to."""
        mine = {slot.id for slot in slots}
        holders = [runtime for runtime in self._runtimes.all() if runtime.occupies_slot and runtime.slot_id in mine]
        seconds = {runtime.id: self._runtimes.idle_release_seconds(runtime) for runtime in holders}
        leaving = [(idle, runtime.id, runtime) for runtime in holders if (idle := seconds[runtime.id]) is not None]
        return min(leaving)[2] if leaving else (holders[0] if holders else None)

    def _words_of(self, holder: Runtime, slots: Sequence[Slot]) -> str:
        slot = (
            f"the slot of {holder.target} is" if len(slots) == 1 else f"all {len(slots)} slots of {holder.target} are"
        )
        seconds = self._runtimes.idle_release_seconds(holder)
        if seconds is not None:
            held = "held by an idle runtime" if len(slots) == 1 else "held; the first to leave is an idle runtime"
            return f"{slot} {held} of {holder.slug}, which frees it in {seconds:.0f} s"
        if holder.status is RuntimeStatus.DRAINING:
            return f"{slot} being freed by a runtime of {holder.slug}"
        if holder.is_idle:
            return f"{slot} held by a runtime of {holder.slug} that is kept warm"
        return f"{slot} busy, with {holder.slug}" if len(slots) == 1 else f"{slot} busy"

    async def _words_of_render(self, render: Render) -> str:
        if render.status is RenderStatus.QUEUED:
            return (await self._outlook.stands(render)).explanation
        if render.status is RenderStatus.CANCELING:
            return "gives way to others"
        progress = render.progress
        steps = f", step {progress.done_steps} of {progress.total_steps}" if progress.total_steps else ""
        return f"{render.phase} on {render.target}{steps}"


def _is_before(other: Probe, probe: Probe) -> bool:
    """Whether another probe has the target before this one."""
    return other.target == probe.target and other.id != probe.id and other.started_at is not None
