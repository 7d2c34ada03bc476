"""Workers as processes: the real worker use case on a simulated device, started and ended as a placer does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random

from forge.worker.v1 import worker_service_pb2 as pb

from services.inference_worker import convert
from services.inference_worker.usecases.worker import InferenceWorker
from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.domain.fleet import Slot
from services.scheduler.ports import WorkerProcess
from tests.simulation.device import DeviceLane, Pictures, Recorder, SimulatedLoader, Temper
from tests.simulation.network import NoAnswer
from tests.simulation.objects import Objects
from tests.simulation.processes import Process
from tests.simulation.record import Record
from tests.simulation.virtual_time import SimulatedClock, VirtualLoop

LAUNCH_SECONDS, STOP_SECONDS, GRACE_SECONDS = 60.0, 8.0, 5.0
"""The platform's defaults: for a process to serve, to end, and for its calls to end."""
CHECKPOINT_SECONDS, PATIENCE_SECONDS = 5.0, 300.0


class Worker:
    """One worker process, which serves once it has started."""

    def __init__(
        self,
        process: Process,
        slot: Slot,
        *,
        temper: Temper,
        libraries: str,
        objects: Objects,
        base: float,
        orphan_seconds: float,
    ) -> None:
        self.process = process
        self.slot = slot
        self.is_hurt = False
        """Whether something happened to it that a render may count as a loss."""
        self.asked: set[tuple[str, int]] = set()
        """The attempts it was asked for, as (render, epoch)."""
        self._loop: VirtualLoop = asyncio.get_running_loop()  # type: ignore[assignment] — there is no other here
        self._temper = temper
        self._libraries = libraries
        self._objects = objects
        self._clock = SimulatedClock(self._loop, base)
        self._orphan_seconds = orphan_seconds
        self._worker: InferenceWorker | None = None
        self._open_streams = 0

    @property
    def serves(self) -> bool:
        """Whether it takes calls."""
        return self._worker is not None and self.process.is_alive

    @property
    def is_followed(self) -> bool:
        """Whether somebody listens to an attempt of it."""
        return self._open_streams > 0

    def hurt(self) -> None:
        """Kill it, as an accident does."""
        self.is_hurt = True
        self.process.kill()

    async def run(self, startup_seconds: float, record: Record) -> None:
        """The process from its start to its end, as the worker's own composition root has it."""
        await asyncio.sleep(startup_seconds)
        device, encoding = DeviceLane(), DeviceLane()
        worker = self._worker = InferenceWorker(
            self.process.name,
            loader=SimulatedLoader(self.hurt, self._temper, self._libraries, record),
            encoder=Recorder(),
            pictures=Pictures(),
            objects=self._objects,
            device=device,
            encoding=encoding,
            clock=self._clock,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            storage_patience_seconds=PATIENCE_SECONDS,
        )
        record("serves")
        told = asyncio.create_task(self.process.told_to_stop.wait())
        orphaned = asyncio.create_task(worker.until_orphaned(self._orphan_seconds))
        await asyncio.wait({told, orphaned}, return_when=asyncio.FIRST_COMPLETED)
        record("is told to stop" if told.done() else "is orphaned")
        await worker.stop(0.8 * GRACE_SECONDS)
        self._worker = None  # no new calls from here on
        give_up_at = self._clock.monotonic() + 0.2 * GRACE_SECONDS
        while self._open_streams and self._clock.monotonic() < give_up_at:
            await asyncio.sleep(0.05)
        record("ends")
        self.process.kill()

    # What it serves, from message to message

    async def load(self, request: pb.LoadRequest) -> AsyncGenerator[pb.LoadEvent, None]:
        """The Load RPC."""
        async with aclosing(self._serving().load(convert.version(request))) as events:
            async for event in events:
                yield convert.start_event_to_proto(event)

    async def render(self, request: pb.RenderRequest) -> AsyncGenerator[pb.AttemptEvent, None]:
        """The Render RPC. What events say is marked with the attempt and the number they come from: #epoch.seq."""
        mark = f"#{request.epoch}"
        self.asked.add((request.render_id, request.epoch))
        self._open_streams += 1
        try:
            async with aclosing(self._serving().render(convert.assignment(request), request.after_seq)) as events:
                async for event in events:
                    message = convert.attempt_event_to_proto(event)
                    message.message += f" {mark}.{message.seq}"
                    if message.HasField("failure"):
                        message.failure.message += f" {mark}.{message.seq}"
                    yield message
        finally:
            self._open_streams -= 1

    async def cancel(self, request: pb.CancelRequest) -> None:
        """The Cancel RPC."""
        await self._serving().cancel(convert.attempt_id(request))

    async def status(self) -> pb.WorkerStatus:
        """The GetWorkerStatus RPC."""
        return convert.status_to_proto(await self._serving().status())

    def _serving(self) -> InferenceWorker:
        if self._worker is None:
            raise NoAnswer(f"{self.process} does not serve")
        return self._worker


@dataclass
class Machines:
    """All workers, dead ones too, and the port `Placer`."""

    loop: VirtualLoop
    rng: Random
    record: Record
    objects: Objects
    temper: Temper
    libraries_differ: bool
    """Whether each target has libraries of its own."""
    orphan_seconds: float
    """How long a worker stays that nobody calls."""
    fails_launch: float = 0.0
    workers: dict[str, Worker] = field(default_factory=dict)
    """By the runtime's id, which is the worker's address too."""

    def slot_of(self, runtime_id: str) -> str:
        """Where a runtime's worker runs; one that was never launched is nowhere else."""
        worker = self.workers.get(runtime_id)
        return worker.slot.id if worker else f"nowhere for {runtime_id}"

    def victims(self) -> list[Worker]:
        """Workers whose process is there: those that somebody listens to, or all if there are none."""
        alive = [worker for worker in self.workers.values() if worker.process.is_alive]
        return [worker for worker in alive if worker.is_followed] or alive

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker; returns once it serves. Raises RuntimeStartFailed."""
        process = Process(self.loop, runtime_id)
        worker = Worker(
            process,
            slot,
            temper=self.temper,
            libraries=slot.target.gpu_type if self.libraries_differ else "",
            objects=self.objects,
            base=self.rng.uniform(0.0, 1e6),
            orphan_seconds=self.orphan_seconds,
        )
        self.workers[runtime_id] = worker
        self.record(f"launches {runtime_id} on {slot.id}")
        process.spawn(worker.run(self.rng.uniform(0.2, 2.0), self.record))
        if self.rng.random() < self.fails_launch:
            self.record(f"{runtime_id} dies at its start")
            worker.hurt()
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                while not worker.serves and process.is_alive:
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass
        finally:
            if not worker.serves:
                process.kill()
        if not worker.serves:
            raise RuntimeStartFailed("the worker did not serve", retry=True)
        return WorkerProcess(address=runtime_id, pid=len(self.workers))

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there."""
        await asyncio.sleep(0.001)
        return runtime_id in self.workers and self.workers[runtime_id].process.is_alive

    async def terminate(self, runtime_id: str, process: WorkerProcess, *, kindly: bool = True) -> None:
        """End a worker; returns once it is gone."""
        worker = self.workers[runtime_id]
        if kindly and worker.process.is_alive:
            self.record(f"tells {runtime_id} to stop")
            worker.process.stop()
            await asyncio.wait({worker.process.died}, timeout=STOP_SECONDS)
        if worker.process.is_alive:
            self.record(f"kills {runtime_id}")
            worker.process.kill()
        await asyncio.sleep(0.01)
