"""A stage of measurements: how seconds and memory are taken, and what happens when one of them fails."""

import gc
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from bench.gpu.notebook import Notebook
from bench.gpu.subjects import Subject
from services.inference_worker.adapters.engines.device import finish
from services.inference_worker.adapters.engines.memory import MemoryMeter
from services.inference_worker.domain.attempt import PeakMemory, Phase

GIB = 2**30

_TRACEBACK_LINES = 6
_LONGEST_MESSAGE = 300


class Stage:
    """A stage under way, on a device. Measurements that fail, or for which no time is left, do not stop others.

    `subjects` are the models by slug, `scratch` is a folder on the local disk, `tiny` says that everything is small.
    """

    def __init__(
        self,
        notebook: Notebook,
        device: torch.device,
        subjects: Mapping[str, Subject],
        scratch: Path,
        *,
        tiny: bool,
        ends_at: float,
    ) -> None:
        self.notebook = notebook
        self.device = device
        self.subjects = subjects
        self.scratch = scratch
        self.tiny = tiny
        self._ends_at = ends_at

    def attempt(self, name: str, measurement: Callable[[], object], *, takes_seconds: float = 0.0) -> None:
        """Do a measurement, which takes about so long on a large GPU, unless the stage has to end before."""
        if not self.tiny and time.monotonic() + takes_seconds > self._ends_at:
            self.notebook.failed(name, f"takes about {takes_seconds:.0f} s, and the stage has to end before")
            return
        try:
            with torch.no_grad():
                measurement()
        except Exception as error:
            print("".join(traceback.format_exc().splitlines(keepends=True)[-_TRACEBACK_LINES:]), end="", flush=True)
            self.notebook.failed(name, f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE])
        with suppress(RuntimeError):  # after some errors a device refuses everything
            self.tidy_up()

    def tidy_up(self) -> None:
        """Give back what nobody uses."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def noise(self, *size: int, dtype: torch.dtype) -> torch.Tensor:
        """Random numbers on the device."""
        return torch.randn(size, device=self.device, dtype=dtype)

    def seconds(self, work: Callable[[], object], *, calls: int = 5, warm_up: int = 2) -> float:
        """The median of the seconds that a call takes on the device."""
        for _ in range(warm_up):
            work()
        finish(self.device)
        return statistics.median(self._once(work) for _ in range(calls))

    def peak(self, work: Callable[[], object]) -> PeakMemory:
        """The most memory in use while the work is done."""
        meter = MemoryMeter(self.device)
        meter.enter(Phase.DENOISING)
        work()
        finish(self.device)
        return meter.peaks()[Phase.DENOISING]

    def note_peak(self, name: str, peak: PeakMemory) -> None:
        """Keep a peak of memory."""
        self.notebook.note(f"{name}, peak allocated", peak.allocated_bytes / GIB, "GiB")
        self.notebook.note(f"{name}, peak reserved", peak.reserved_bytes / GIB, "GiB")

    def _once(self, work: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
