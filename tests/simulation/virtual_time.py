"""Time that passes only when nothing is left to do: an event loop that never waits."""

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tests.simulation.processes import PROCESS, Process

T = TypeVar("T")
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
"""What wall clocks that are right show at the beginning of a simulation."""


class _Selector(selectors.BaseSelector):
    """Says at once that nothing came in, and that the time it was to wait has passed."""

    def __init__(self) -> None:
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Any:
        return {}


class _Handle(asyncio.Handle):
    """A callback that runs only if the process it belongs to runs."""

    def _run(self) -> None:
        process: Process | None = self._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is None or process.admits(self):
            super()._run()  # type: ignore[misc]


class _TimerHandle(asyncio.TimerHandle):
    """The same for one that comes later."""

    def _run(self) -> None:
        process: Process | None = self._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is None or process.admits(self):
            super()._run()  # type: ignore[misc]


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop with a clock that jumps to the next timer. Nothing in it depends on the machine.

    Every callback belongs to the process in whose context it was scheduled. Those of a process that is dead never run,
    not even to clean up; those of one that is paused run when it goes on.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.errors: list[dict[str, Any]] = []
        """What nobody caught."""
        self.is_over = False
        """Whether generators that are forgotten may be so without cleaning up."""
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._virtual.now

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Let callbacks run that were held back."""
        self._ready.extend(handle for handle in handles if not handle.cancelled())  # type: ignore[attr-defined]

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time."""
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _call_soon(self, callback: Callable[..., object], args: Any, context: Context | None) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """A task, which belongs to the process of its context."""
        context = context or copy_context()
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        if process := context.get(PROCESS):
            process.owns(task, context)
        return task

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if not self.is_over:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Threads would bring real time in."""
        raise AssertionError("a thread in the simulation")

    def _write_to_self(self) -> None:
        """There is only one thread: nobody has to be woken."""


class SimulatedClock:
    """The clocks of one process. The wall clock may be wrong and jump; the monotonic one only has its own beginning."""

    def __init__(self, loop: VirtualLoop, monotonic_base: float, skew_seconds: float = 0.0) -> None:
        self._loop = loop
        self._base = monotonic_base
        self.skew_seconds = skew_seconds

    def now(self) -> datetime:
        """What the wall clock shows, right or wrong."""
        return EPOCH + timedelta(seconds=self._loop.time() + self.skew_seconds)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return self._base + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Return after so much virtual time."""
        await asyncio.sleep(seconds)


class Ids:
    """Identifiers that sort by the order they were made in."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):06}"
