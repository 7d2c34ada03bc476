"""Processes that can be killed, paused and told to stop, although all of them run on one event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.virtual_time import VirtualLoop

PROCESS: ContextVar["Process | None"] = ContextVar("PROCESS", default=None)
"""The process that the running code belongs to; None for the world around."""

_KEPT_TASKS, _MOST_WAITS = 200, 100


class Process:
    """One process. Its code never notices a kill or a pause: between two of its steps there simply is no next one."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_paused = False
        self.told_to_stop = asyncio.Event()
        self.died: asyncio.Future[None] = loop.create_future()
        """Done when it is gone."""
        self._loop = loop
        self._tasks: list[tuple[asyncio.Task[Any], Context]] = []
        self._held_back: list[asyncio.Handle] = []
        self._on_death: list[Callable[[], None]] = []
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run `work` in the process; in one that is gone it never begins."""
        return self._loop.create_task(work, context=self._context.copy())

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback in the process."""
        self._loop.call_soon(callback, *args, context=self._context)

    def on_death(self, callback: Callable[[], None]) -> None:
        """Tell the world when the process is gone."""
        self._on_death.append(callback)

    def kill(self) -> None:
        """SIGKILL: none of its code runs ever again, `finally` blocks included."""
        if self.is_alive:
            self.is_alive = False
            self._held_back.clear()
            self.died.set_result(None)
            for callback in self._on_death:
                callback()

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = True

    def go_on(self) -> None:
        """SIGCONT: what was due meanwhile is done now."""
        self.is_paused = False
        held_back, self._held_back = self._held_back, []
        self._loop.put_back(held_back)

    def stop(self) -> None:
        """SIGTERM."""
        self.call(self.told_to_stop.set)

    # For the loop

    def owns(self, task: "asyncio.Task[Any]", context: Context) -> None:
        """Remember a task, so that it outlives the process and cannot clean up when it is forgotten."""
        self._tasks.append((task, context))
        if len(self._tasks) > _KEPT_TASKS:
            self._tasks = [known for known in self._tasks if not known[0].done()]

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of the process may run now; keeps it for later if the process is paused."""
        if self.is_alive and self.is_paused:
            self._held_back.append(handle)
        return self.is_alive and not self.is_paused

    def dispose(self) -> None:
        """Let go of what the process held, once the simulation is over and nobody looks any more."""
        self.is_alive = False
        while self._tasks:
            task, context = self._tasks.pop()
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined] — it never ends, and that is right
                context.run(_close, task.get_coro())


def _close(work: Any) -> None:
    """Unwind a coroutine. Where it waits on the way out, it is not waited for."""
    for _ in range(_MOST_WAITS):
        try:
            work.close()
            return
        except RuntimeError:  # it waits for something; the next close goes on from there
            continue
        except BaseException:
            return
