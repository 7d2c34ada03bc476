"""A worker with a scripted engine and everything around it, and a clock that only tests move."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import obstore
from obstore.store import MemoryStore

from services.chassis.clock import Clock, SystemClock
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.adapters.pillow_pictures import PillowPictures
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.adapters.scripted_engine import ScriptedEngine, ScriptedEngineLoader
from services.inference_worker.adapters.serial_thread import SerialThread
from services.inference_worker.domain.attempt import Assignment, AttemptEvent, AttemptId, Phase
from services.inference_worker.domain.errors import StorageFailed
from services.inference_worker.usecases.worker import InferenceWorker

FIRST = AttemptId("r1", 1)
"""The attempt that benches make unless told otherwise."""
EVERY_STEP = 1e-9
"""Seconds between two checkpoints that make one due at every step."""


class ManualClock(SystemClock):
    """Time that passes only in `advance`."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self._slept += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, self._slept, woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, and everybody who wakes do what follows from that."""
        end = self.seconds + seconds
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.seconds, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await settled()
        self.seconds = end
        await settled()


async def settled() -> None:
    """Return when the event loop has done what can be done without waiting for anybody."""
    for _ in range(50):
        await asyncio.sleep(0)


class MoodyObjects(ObstoreObjects):
    """Objects in memory that refuse or hang when told to, which cannot be had on cue from a real store."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.tries: list[str] = []
        """Keys that were put, refused ones included."""
        self._refuses: Callable[[str], bool] = lambda _key: False
        self._hangs: Callable[[str], bool] = lambda _key: False
        self._open = asyncio.Event()

    def refuse(self, refuses: Callable[[str], bool]) -> None:
        """From now on, refuse the keys of which this holds."""
        self._refuses = refuses

    async def until_tried(self, key: str) -> None:
        """Return once this key was put."""
        while key not in self.tries:  # threads come to it when they come to it
            await asyncio.sleep(0)
        await settled()

    @contextmanager
    def hanging(self, hangs: Callable[[str], bool]) -> Iterator[None]:
        """During the block, puts of the keys of which this holds come to no end."""
        self._hangs = hangs
        try:
            yield
        finally:
            self._hangs = lambda _key: False
            self._open.set()

    async def put(self, key: str, content: bytes) -> None:
        self.tries.append(key)
        if self._hangs(key):
            await self._open.wait()
        if self._refuses(key):
            raise StorageFailed
        await super().put(key, content)


class Bench:
    """A worker with a scripted engine and everything around it."""

    def __init__(
        self, clock: Clock | None = None, *, checkpoint_seconds: float = 5.0, storage_patience_seconds: float = 0.0
    ) -> None:
        self.engine = ScriptedEngine()
        self.loader = ScriptedEngineLoader(self.engine)
        self.store = MemoryStore()
        self.objects = MoodyObjects(self.store)
        self.device, self.encoding = SerialThread("device"), SerialThread("encoding")
        self.worker = InferenceWorker(
            "worker-1",
            loader=self.loader,
            encoder=PyAvVideoEncoder(),
            pictures=PillowPictures(),
            objects=self.objects,
            device=self.device,
            encoding=self.encoding,
            clock=clock or SystemClock(),
            checkpoint_seconds=checkpoint_seconds,
            storage_patience_seconds=storage_patience_seconds,
        )

    async def load(self, version: Any) -> list[Any]:
        return [event async for event in self.worker.load(version)]

    async def render(
        self,
        render_id: str = "r1",
        epoch: int = 1,
        after_seq: int = 0,
        checkpoint_key: str | None = None,
        may_make_room: bool = True,
        pause_after_step: int | None = None,
        trace_context: Mapping[str, str] | None = None,
        **inputs: Any,
    ) -> list[Any]:
        assignment = Assignment(
            AttemptId(render_id, epoch),
            inputs,
            f"renders/{render_id}/{epoch}/video.mp4",
            checkpoint_key,
            may_make_room,
            pause_after_step,
            trace_context or {},
        )
        return [event async for event in self.worker.render(assignment, after_seq)]

    async def start(self, *args: Any, **more: Any) -> asyncio.Task[list[AttemptEvent]]:
        """An attempt that is under way."""
        task = asyncio.create_task(self.render(*args, **more))
        await asyncio.sleep(0)
        return task

    async def begin(
        self, render_id: str = "r1", epoch: int = 1, steps: int = 0, **more: Any
    ) -> asyncio.Task[list[AttemptEvent]]:
        """An attempt that has taken so many of four steps and waits to be allowed another one."""
        self.engine.hold()
        self.engine.allow(steps)
        task = await self.start(render_id, epoch, **{"num_inference_steps": 4, **more})
        await self._stands_after(steps, AttemptId(render_id, epoch))
        return task

    async def step(self, number: int) -> None:
        """Let the attempt that was begun take its step of this number, but not its last one."""
        self.engine.allow(1)
        await self._stands_after(number, FIRST)

    async def _stands_after(self, steps: int, attempt_id: AttemptId) -> None:
        await self.until(
            lambda event: event.reading.phase is Phase.DENOISING and event.reading.done_steps == steps, attempt_id
        )
        while not self.engine.is_waiting:  # its thread comes to it when it comes to it
            await asyncio.sleep(0)

    async def until(self, holds: Callable[[AttemptEvent], bool], attempt_id: AttemptId = FIRST) -> AttemptEvent:
        """The first event of an attempt that is under way or over of which this holds."""
        async with aclosing(self.follow(attempt_id)) as events:
            async for event in events:
                if holds(event):
                    return event
        raise AssertionError("the attempt ended first")

    def follow(self, attempt_id: AttemptId = FIRST) -> AsyncGenerator[AttemptEvent, None]:
        """The events of an attempt that is under way or over."""
        return self.worker.render(Assignment(attempt_id, {}, ""))

    def stored(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    def stored_keys(self) -> list[str]:
        return sorted(entry["path"] for entry in obstore.list(self.store).collect())

    async def close(self) -> None:
        """End what is under way; no thread is left behind."""
        self.engine.allow(1000)
        await self.worker.stop(grace_seconds=10)
        self.device.close()
        self.encoding.close()
