"""How the fleet stands, as figures that are taken now and then."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from opentelemetry import metrics

from services.scheduler.domain.circuit import Circuits
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.ports import Clock, Processes
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.runtimes import Runtimes

meter = metrics.get_meter("forge.scheduler")

EVERY_SECONDS = 5.0

_Labels = tuple[tuple[str, str], ...]


class _Levels:
    """A gauge of which every series that was ever set goes on: one that is not there any more is 0."""

    def __init__(self, name: str, unit: str, description: str) -> None:
        self._gauge = meter.create_gauge(name, unit=unit, description=description)
        self._known: set[_Labels] = {()} if name.endswith((".depth", ".oldest", ".free", ".open")) else set()

    def set(self, levels: Mapping[_Labels, float]) -> None:
        """The levels by their labels."""
        self._known |= levels.keys()
        for labels in self._known:
            self._gauge.set(levels.get(labels, 0.0), dict(labels))


class Gauges:
    """Reads queue, runtimes, circuits and processes."""

    def __init__(
        self,
        *,
        queue: Queue,
        runtimes: Runtimes,
        circuits: Circuits,
        running: Callable[[], Mapping[str, int]],
        processes: Processes,
        clock: Clock,
    ) -> None:
        """`running` says how many attempts run, by model."""
        self._queue = queue
        self._runtimes = runtimes
        self._circuits = circuits
        self._running_by_model = running
        self._processes = processes
        self._clock = clock
        self._waiting = _Levels("forge.queue.depth", "", "Renders that wait, without those of probes")
        self._oldest = _Levels("forge.queue.oldest", "s", "How long the render that waits longest has waited")
        self._running = _Levels("forge.renders.running", "", "Attempts that run")
        self._by_status = _Levels("forge.runtimes", "", "Runtimes by status")
        self._slots = _Levels("forge.slots.free", "", "Slots that nothing occupies")
        self._open = _Levels("forge.circuits.open", "", "Targets that a version is spared from")
        self._memory = _Levels("forge.worker.memory", "By", "Memory that workers have resident")
        self._cpu = _Levels("forge.worker.cpu", "1", "Cores that workers keep busy")
        self._disk = _Levels("forge.disk.free", "By", "Room on the disk of the installation")

    async def run(self) -> None:
        """Read until canceled."""
        while True:
            self.read(self._clock.now())
            await self._clock.sleep(EVERY_SECONDS)

    def read(self, now: datetime) -> None:
        """Read all once."""
        waiting = Counter[_Labels]()
        for demand, count in self._queue.counts().items():
            waiting[_labels(model=demand.slug)] += count
        self._waiting.set(waiting)
        oldest = self._queue.oldest()
        self._oldest.set({(): max(0.0, (now - oldest).total_seconds()) if oldest else 0.0})
        self._running.set({_labels(model=slug): count for slug, count in self._running_by_model().items()})
        runtimes = self._runtimes.all()
        self._by_status.set(Counter(_labels(model=runtime.slug, status=runtime.status.value) for runtime in runtimes))
        self._slots.set({(): len(self._runtimes.free_slots())})
        self._open.set(
            Counter(
                _labels(model=slug, gpu_type=target.gpu_type, region=target.region)
                for slug, _, target in self._circuits.open(self._clock.monotonic())
            )
        )
        memory, cpu = Counter[_Labels](), Counter[_Labels]()
        for runtime in runtimes:
            if runtime.pid is not None and runtime.status is not RuntimeStatus.FAILED:
                labels = _labels(model=runtime.slug, gpu_type=runtime.target.gpu_type, region=runtime.target.region)
                figures = self._processes.figures(runtime.pid)
                memory[labels] += figures.memory_bytes
                cpu[labels] += round(figures.cores, 3)  # pyright: ignore[reportArgumentType] — counters take any number
        self._memory.set(memory)
        self._cpu.set(cpu)
        self._disk.set({(): self._processes.free_disk_bytes()})


def _labels(**labels: str) -> _Labels:
    return tuple(sorted(labels.items()))
