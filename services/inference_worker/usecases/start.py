"""The start of a worker: one version being loaded, or loaded, or not loadable."""

import asyncio
from collections.abc import AsyncGenerator

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.inference_worker.domain.attempt import StartEvent
from services.inference_worker.domain.errors import failure_of
from services.inference_worker.domain.version import StartMoment, StartPhase, Version, WorkerState
from services.inference_worker.ports import Engine, EngineLoader, Lane
from services.inference_worker.usecases.event_log import EventLog
from services.inference_worker.usecases.traces_of_errors import where

log = structlog.get_logger()


class Start:
    """One try at loading a version. Everybody who asks for the version follows the same try."""

    def __init__(self, version: Version, *, loader: EngineLoader, device: Lane, clock: Clock) -> None:
        self.version = version
        self.state = WorkerState.LOADING
        self.engine: Engine | None = None
        self._loader = loader
        self._device = device
        self._clock = clock
        self._log: EventLog[StartEvent] = EventLog(clock)
        self._loop = asyncio.get_running_loop()
        self._told = StartEvent(StartMoment(StartPhase.IMPORTS, "about to begin"))

    async def run(self) -> None:
        """Load; ends ready or failed and never raises."""
        began = self._clock.monotonic()
        with self._log.kept_alive(lambda: self._told):
            try:
                self.engine = await self._device.run(lambda: self._loader.load(self.version, self._report))
            except Exception as error:
                failure = failure_of(error, "loading")
                self.state = WorkerState.FAILED
                self._log.append(StartEvent(StartMoment(StartPhase.FAILED, failure.message), failure), last=True)
                facts = {} if isinstance(error, ForgeError) else where(error)
                log.error("load failed", reason=failure.reason, message=failure.message, **facts)
                return
        load_ms = round(1000 * (self._clock.monotonic() - began))
        self.state = WorkerState.READY
        ready = StartMoment(StartPhase.READY, "ready")
        self._log.append(StartEvent(ready, load_ms=load_ms, software=dict(self.engine.fingerprint)), last=True)
        log.info("loaded", slug=self.version.slug, model_version=self.version.model_version, load_ms=load_ms)

    def follow(self) -> AsyncGenerator[StartEvent, None]:
        """The events of the try; only how it ended for those who come after the end."""
        return self._log.follow(after=len(self._log) - 1 if self._log.is_closed else 0)

    def _report(self, moment: StartMoment) -> None:
        self._loop.call_soon_threadsafe(self._tell, StartEvent(moment))

    def _tell(self, event: StartEvent) -> None:
        self._told = event
        self._log.append(event)
