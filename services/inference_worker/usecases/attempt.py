"""One attempt under way: its events, its progress, its spans, and the signal that stops it."""

import asyncio
import threading
from collections.abc import Hashable, Mapping

from opentelemetry import trace

from services.chassis.clock import Clock
from services.inference_worker.domain.attempt import (
    AttemptEvent,
    AttemptId,
    Canceled,
    Failure,
    Output,
    Phase,
)
from services.inference_worker.domain.errors import RenderStopped
from services.inference_worker.domain.progress import Meter, Pace
from services.inference_worker.ports import Moment
from services.inference_worker.usecases.event_log import EventLog

tracer = trace.get_tracer(__name__)


class StopSignal:
    """Tells an attempt to stop, from any thread; the first reason counts."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._result: Canceled | Failure = Canceled()

    def give(self, result: Canceled | Failure) -> None:
        """Stop; the attempt then ends with `result`."""
        if not self._given.is_set():
            self._result = result
            self._given.set()

    @property
    def result(self) -> Canceled | Failure:
        """How a stopped attempt ends."""
        return self._result

    def check(self) -> None:
        """Raise RenderStopped when told to stop."""
        if self._given.is_set():
            raise RenderStopped


class Attempt:
    """An attempt and what followers see of it. One thread at a time reports; events are kept on the event loop."""

    def __init__(
        self, attempt_id: AttemptId, *, shape: Hashable, shares: Mapping[Phase, float], pace: Pace, clock: Clock
    ) -> None:
        self.id = attempt_id
        self.stop = StopSignal()
        self.log: EventLog[AttemptEvent] = EventLog()
        self._shape = shape
        self._pace = pace
        self._meter = Meter(shares, pace.seconds(shape), clock.monotonic)
        self._loop = asyncio.get_running_loop()
        self._phase: Phase | None = None
        self._span: trace.Span | None = None

    @property
    def doing(self) -> str:
        """What it is at, in words."""
        return self._phase or Phase.ENCODING

    def report(self, moment: Moment) -> None:
        """Take note of progress. May be called from the device's thread."""
        if moment.phase is not self._phase:
            self._enter(moment.phase)
        self._meter.advance(moment.share)
        if moment.phase is Phase.DENOISING:
            self._meter.steps(moment.done_steps, moment.total_steps)
        reading = self._meter.read()
        self._loop.call_soon_threadsafe(
            lambda: self.log.append(AttemptEvent(len(self.log) + 1, reading, moment.message or moment.phase))
        )

    def phase_ms(self) -> Mapping[Phase, int]:
        """What each phase took; complete once the last one was left."""
        return self._meter.phase_ms()

    def leave_last_phase(self) -> None:
        """All the work is done: stop the clock of the last phase and remember how long everything took."""
        self._enter(Phase.DONE)
        self._pace.learn(self._shape, self._meter.seconds_spent())

    async def end(self, result: Output | Failure | Canceled) -> None:
        """Add the last event, after all that were reported before."""
        self._end_span()
        reported: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_soon_threadsafe(reported.set_result, None)
        await reported
        message = (
            result.message if isinstance(result, Failure) else "canceled" if isinstance(result, Canceled) else "done"
        )
        self.log.append(AttemptEvent(len(self.log) + 1, self._meter.read(), message, result), last=True)

    def _enter(self, phase: Phase) -> None:
        self._end_span()
        self._phase = phase
        self._meter.enter(phase)
        if phase is not Phase.DONE:
            self._span = tracer.start_span(phase)

    def _end_span(self) -> None:
        if self._span is not None:
            self._span.end()
            self._span = None
