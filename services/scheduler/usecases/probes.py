"""Probes as operators see them: made, looked at, stopped."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from services.chassis.errors import InvalidInput, Violation
from services.scheduler.domain.fleet import Fleet, Pin, Target
from services.scheduler.domain.probe import DEFAULT_RUNS, MAX_RUNS, Origin, Probe, ProbeNotFound, ProbeStatus, runs_of
from services.scheduler.ports import Catalog, Clock, Version
from services.scheduler.probe_ports import ProbePage, ProbeStore
from services.scheduler.usecases.probe_outlook import ProbeOutlook

log = structlog.get_logger()

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50


class Probes:
    """What can be done with probes. `stop` cancels a render, and says why; `on_change` is told of what is new."""

    def __init__(
        self,
        *,
        store: ProbeStore,
        outlook: ProbeOutlook,
        fleet: Fleet,
        catalog: Catalog,
        clock: Clock,
        new_id: Callable[[str], str],
        stop: Callable[[str, str], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self._outlook = outlook
        self._fleet = fleet
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id
        self._stop = stop
        self._on_change = on_change

    async def create(
        self, slug: str, model_version: str, pin: Pin, runs: int, *, origin: Origin = Origin.ASKED
    ) -> list[Probe]:
        """A probe of a version on each target that fits. The errors of the contract's CreateProbes."""
        if not 0 <= runs <= MAX_RUNS:
            raise InvalidInput([Violation("runs", f"must be from 1 to {MAX_RUNS}, or be left out")])
        version = await self._catalog.version(slug, model_version or None)
        self._fleet.check(pin, version.vram_floor_gib, version.known_targets)
        targets = sorted({kind.target for kind in self._fleet.kinds_for(pin, version.vram_floor_gib)})
        probes = [await self._add(version, target, runs or DEFAULT_RUNS, origin) for target in targets]
        self._on_change()
        return [await self._as_it_stands(probe) for probe in probes]

    async def get(self, probe_id: str) -> Probe:
        """A probe as it stands. Raises ProbeNotFound."""
        probe = await self._store.get(probe_id)
        if probe is None:
            raise ProbeNotFound(probe_id)
        return await self._as_it_stands(probe)

    async def page(self, *, slug: str, status: str, page_size: int, page_token: str) -> ProbePage:
        """Probes as they stand, newest first. Raises InvalidInput."""
        violations: list[Violation] = []
        if status and status not in list(ProbeStatus):
            violations.append(Violation("status", f"must be one of: {', '.join(ProbeStatus)}"))
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            violations.append(Violation("page_size", f"must be from 1 to {MAX_PAGE_SIZE}, or be left out"))
        if page_token and not page_token.startswith("prb_"):
            violations.append(Violation("page_token", "must be the next_page_token of an earlier answer"))
        if violations:
            raise InvalidInput(violations)
        page = await self._store.page(
            slug=slug or None,
            status=ProbeStatus(status) if status else None,
            size=page_size or DEFAULT_PAGE_SIZE,
            before=page_token or None,
        )
        return replace(page, probes=[await self._as_it_stands(probe) for probe in page.probes])

    async def cancel(self, probe_id: str) -> Probe:
        """Stop a probe and its run; one that has ended stays as it is. Raises ProbeNotFound."""
        now = self._clock.now()
        canceled = await self._store.advance(
            probe_id, lambda probe: probe.canceled(now) if probe.is_under_way else None
        )
        if canceled is not None:
            log.info("probe canceled", probe_id=probe_id)
            if canceled.run.render_id:
                await self._stop(canceled.run.render_id, "its probe was canceled")
            self._on_change()
        return await self.get(probe_id)

    async def _add(self, version: Version, target: Target, runs: int, origin: Origin) -> Probe:
        probe = Probe(
            id=self._new_id("prb"),
            slug=version.slug,
            model_version=version.model_version,
            target=target,
            origin=origin,
            created_at=self._clock.now(),
            example=version.example,
            runs=runs_of(version.probe_inputs, runs),
        )
        kept = await self._store.add(probe)
        if kept.id == probe.id:
            log.info("probe made", probe_id=probe.id, slug=probe.slug, target=str(target), origin=origin)
        return kept

    async def _as_it_stands(self, probe: Probe) -> Probe:
        if not probe.is_under_way:
            return probe
        return await self._outlook.stands(probe, await self._store.under_way())
