"""Runs of probes that end so that others who wait need not: renders, and starts that somebody asked for."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.giving_way import room_for
from services.scheduler.domain.placement import Situation, Wait
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.usecases.runtimes import Runtimes


class GivingWay:
    """Has one run of a probe end for each that waits, not more.

    `held` are the renders of probes that are under way, by their runtimes. `stop` cancels a render, and says why.
    """

    def __init__(
        self,
        *,
        runtimes: Runtimes,
        held: Callable[[], Mapping[str | None, str]],
        stop: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._runtimes = runtimes
        self._held = held
        self._stop = stop
        self._claims: list[Demand] = []
        self._leaving: dict[str, str] = {}
        """The runs that are giving way, by their runtimes."""
        self._promised: set[str] = set()
        """The runtimes that were promised to somebody in this look at the queue."""

    def look_again(self) -> None:
        """A new look at the queue begins: whoever still waits is promised anew what is on its way to them."""
        self._promised.clear()
        self._leaving = {name: render_id for name, render_id in self._leaving.items() if self._leaves(name, render_id)}

    async def make_room(self, demand: Demand, wait: Wait, situation: Situation, wanted: int) -> None:
        """Have so many runs give way to renders that must wait."""
        room = [runtime for runtime in self._room(demand, wait, situation) if runtime.id not in self._promised]
        for runtime in room[:wanted]:
            self._promised.add(runtime.id)
            await self._have_end(runtime, demand, "gives way to a render")

    @contextmanager
    def claim(self, demand: Demand) -> Iterator[None]:
        """Meanwhile a start waits for what it demands: no further run of a probe is begun there."""
        self._claims.append(demand)
        try:
            yield
        finally:
            self._claims.remove(demand)

    @property
    def claims(self) -> Sequence[Demand]:
        """What starts wait for."""
        return tuple(self._claims)

    async def make_room_for_start(self, demand: Demand, wait: Wait, situation: Situation) -> bool:
        """Have a run give way to a start that must wait, unless one does already. False when none can."""
        room = self._room(demand, wait, situation)
        if room:
            await self._have_end(room[0], demand, "gives way to a start")
        return bool(room)

    def _room(self, demand: Demand, wait: Wait, situation: Situation) -> list[Runtime]:
        """The runtimes that are of use once their runs have ended, those first that are ending."""
        known = {name for name in (*self._held(), *self._leaving) if name is not None}
        room = room_for(demand, wait, situation, known)
        return sorted(room, key=lambda runtime: runtime.id not in self._leaving)

    async def _have_end(self, runtime: Runtime, demand: Demand, why: str) -> None:
        render_id = self._held().get(runtime.id)
        if runtime.id in self._leaving or render_id is None:
            return
        self._leaving[runtime.id] = render_id
        await self._stop(render_id, why)
        if not runtime.runs(demand.slug, demand.model_version):
            self._runtimes.abandon(runtime.id)

    def _leaves(self, runtime_id: str, render_id: str) -> bool:
        """Whether the runtime is not yet of use for others."""
        runtime = self._runtimes.get(runtime_id)
        if runtime is None:
            return False
        return runtime.render_id == render_id or runtime.status is RuntimeStatus.DRAINING
