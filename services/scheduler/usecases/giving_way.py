"""Runs of probes that end so that renders which wait need not."""

from collections.abc import Awaitable, Callable, Mapping

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.giving_way import room_for
from services.scheduler.domain.placement import Situation, Wait
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.usecases.runtimes import Runtimes


class GivingWay:
    """Has one run of a probe end for each render that waits, not more. `stop` cancels a render, and says why."""

    def __init__(self, *, runtimes: Runtimes, stop: Callable[[str, str], Awaitable[None]]) -> None:
        self._runtimes = runtimes
        self._stop = stop
        self._leaving: dict[str, str] = {}
        """The runs that are giving way, by their runtimes."""
        self._promised: set[str] = set()
        """The runtimes that were promised to somebody in this look at the queue."""

    def look_again(self) -> None:
        """A new look at the queue begins: whoever still waits is promised anew what is on its way to them."""
        self._promised.clear()
        self._leaving = {name: render_id for name, render_id in self._leaving.items() if self._leaves(name, render_id)}

    async def make_room(
        self, demand: Demand, wait: Wait, situation: Situation, held: Mapping[str | None, str], wanted: int
    ) -> None:
        """Have so many of the runs that are `held`, by their runtimes, give way to renders that must wait."""
        known = {name for name in (*held, *self._leaving) if name is not None}
        room = [runtime for runtime in room_for(demand, wait, situation, known) if runtime.id not in self._promised]
        room.sort(key=lambda runtime: runtime.id not in self._leaving)
        for runtime in room[:wanted]:
            self._promised.add(runtime.id)
            if runtime.id in self._leaving:
                continue
            self._leaving[runtime.id] = held[runtime.id]
            await self._stop(held[runtime.id], "gives way to a render")
            if not runtime.runs(demand.slug, demand.model_version):
                self._runtimes.abandon(runtime.id)

    def _leaves(self, runtime_id: str, render_id: str) -> bool:
        """Whether the runtime is not yet of use for others."""
        runtime = self._runtimes.get(runtime_id)
        if runtime is None:
            return False
        return runtime.render_id == render_id or runtime.status is RuntimeStatus.DRAINING
