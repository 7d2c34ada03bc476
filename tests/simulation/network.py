"""The network between processes: late, lossy, repeating, and cut one way or both."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from services.chassis.errors import ForgeError
from tests.simulation.processes import PROCESS, Process
from tests.simulation.record import Record
from tests.simulation.virtual_time import VirtualLoop

T = TypeVar("T")
Work = Callable[[], AsyncGenerator[Any, None]]

_WORLD = Context()
"""What is under way belongs to no process: it arrives although its sender is dead."""


class NoAnswer(Exception):
    """The connection broke, or could not be made."""


@dataclass
class Weather:
    """How bad the network is: probabilities, of a call or, for `breaks` and `hangs`, of each of its messages."""

    loses: float = 0.0
    delays: float = 0.0
    repeats: float = 0.0
    breaks: float = 0.0
    hangs: float = 0.0


@dataclass(eq=False)
class _Call:
    """What the two ends of a call know of each other."""

    caller: Process
    callee: Process
    what: str
    inbox: "asyncio.Queue[tuple[str, Any]]" = field(default_factory=asyncio.Queue)
    """(kind, content); the kinds are item, end, error and broken."""
    handler: "asyncio.Task[None] | None" = None
    under_way: "deque[tuple[str, Any]]" = field(default_factory=deque)
    """What the callee said and has not arrived yet. Messages of one call keep their order."""
    hangs: bool = False
    is_left: bool = False
    is_over: bool = False

    def arrive(self) -> None:
        """The next message is there."""
        self.inbox.put_nowait(self.under_way.popleft())


class Network:
    """Carries calls. Who calls is the running process; whom is a process, or None where nobody listens."""

    def __init__(self, loop: VirtualLoop, rng: Random, record: Record) -> None:
        self.weather = Weather()
        self.surprises: list[str] = []
        """Errors of calls that are no facts with names."""
        self._loop = loop
        self._rng = rng
        self._record = record
        self._cut: dict[tuple[str, str], list[Callable[[], None]]] = {}
        """What waits at each cut, by the names of its two sides."""
        self._calls: dict[Process, dict[_Call, None]] = {}

    def cut(self, source: str, target: str) -> None:
        """From now on nothing arrives at `target` from `source`, and nobody hears that it does not."""
        self._cut.setdefault((source, target), [])

    def heal(self, *ways: tuple[str, str]) -> None:
        """Mend cuts. What waited arrives now, as TCP sends again what was not acknowledged."""
        for source, target in ways:
            for deliver in self._cut.pop((source, target), ()):
                self._carry(source, target, deliver)

    async def unary(self, callee: Process | None, what: str, work: Callable[[], Awaitable[T]], timeout: float) -> T:
        """Have `work` done over there. Raises NoAnswer, and the errors of ours that it raises."""

        async def one() -> AsyncGenerator[T, None]:
            yield await work()

        try:
            async with asyncio.timeout(timeout), aclosing(self.stream(callee, what, one)) as answers:
                async for answer in answers:
                    return answer
        except TimeoutError:
            pass
        raise NoAnswer(what)

    async def stream(self, callee: Process | None, what: str, work: Work) -> AsyncGenerator[Any, None]:
        """What `work` yields over there. Leaving cancels it. Raises NoAnswer, and the errors of ours that it raises."""
        caller = PROCESS.get()
        assert caller is not None, "the world calls nobody"
        if callee is None or not callee.is_alive:
            await asyncio.sleep(self._latency())
            raise NoAnswer(f"{what}: connection refused")
        call = _Call(caller, callee, what)
        self._remember(call)
        self._send_request(call, work)
        try:
            while True:
                kind, content = await call.inbox.get()
                match kind:
                    case "item":
                        yield content
                    case "end":
                        return
                    case "error":
                        raise content
                    case _:
                        raise NoAnswer(f"{what}: connection broken")
        finally:
            self._leave(call)

    # The caller's side

    def _send_request(self, call: _Call, work: Work) -> None:
        extra, dice = 0.0, self._rng.random
        if dice() < self.weather.loses:
            self._record(f"lost on the way to {call.callee}: {call.what}")
            call.hangs = True
            return
        if dice() < self.weather.delays:
            extra = self._rng.choice((2.0, 8.0, 40.0))
            self._record(f"late by {extra:.0f} s on the way to {call.callee}: {call.what}")
        if dice() < self.weather.repeats:
            again = extra + self._rng.choice((0.01, 1.0, 35.0))
            self._record(f"will be repeated after {again:.2f} s: {call.what}")
            unheard = _Call(call.caller, call.callee, call.what, hangs=True)
            self._carry(call.caller.name, call.callee.name, lambda: self._begin(unheard, work), extra=again)
        self._carry(call.caller.name, call.callee.name, lambda: self._begin(call, work), extra=extra)

    def _leave(self, call: _Call) -> None:
        """The caller wants no more of it, or is dead."""
        self._forget(call)
        if not call.is_over and not call.hangs:
            self._carry(call.caller.name, call.callee.name, lambda: self._cancel(call))

    # The callee's side

    def _begin(self, call: _Call, work: Work) -> None:
        if call.is_left:
            return
        if call.callee.is_alive:
            call.handler = call.callee.spawn(self._serve(call, work))
        else:
            self._answer(call, "broken", None)

    async def _serve(self, call: _Call, work: Work) -> None:
        try:
            async with aclosing(work()) as items:
                async for item in items:
                    self._answer(call, "item", item)
                    if self._rng.random() < self.weather.breaks:
                        self._record(f"connection breaks: {call.what}")
                        self._answer(call, "broken", None)
                        return
            self._answer(call, "end", None)
        except ForgeError as error:
            self._answer(call, "error", error)
        except NoAnswer:  # nobody serves there
            self._answer(call, "broken", None)
        except Exception as error:
            self.surprises.append(f"{call.what}: {type(error).__name__}: {error}")
            self._answer(call, "broken", None)

    def _answer(self, call: _Call, kind: str, content: Any) -> None:
        if not call.hangs and self._rng.random() < self.weather.hangs:
            self._record(f"falls silent: {call.what}")
            call.hangs = True
        call.is_over = call.is_over or kind != "item"
        if call.hangs:
            return
        call.under_way.append((kind, content))
        self._carry(call.callee.name, call.caller.name, call.arrive)

    @staticmethod
    def _cancel(call: _Call) -> None:
        call.is_left = True
        if call.handler is not None:
            call.handler.cancel()

    # Both

    def _carry(self, source: str, target: str, deliver: Callable[[], None], *, extra: float = 0.0) -> None:
        arrival = self._loop.time() + self._latency() + extra
        self._loop.call_at(arrival, self._arrive, source, target, deliver, context=_WORLD)

    def _arrive(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        if (source, target) in self._cut:
            self._cut[source, target].append(deliver)
        else:
            deliver()

    def _latency(self) -> float:
        return 0.0005 + self._rng.expovariate(1 / 0.002)

    def _remember(self, call: _Call) -> None:
        for end in (call.caller, call.callee):
            if end not in self._calls:
                self._calls[end] = {}
                end.on_death(lambda end=end: self._died(end))
            self._calls[end][call] = None

    def _forget(self, call: _Call) -> None:
        for end in (call.caller, call.callee):
            self._calls.get(end, {}).pop(call, None)

    def _died(self, process: Process) -> None:
        """The kernel closes what the process had open."""
        for call in self._calls.pop(process):
            if call.caller is process:
                self._leave(call)
            elif not call.is_over:
                self._answer(call, "broken", None)
