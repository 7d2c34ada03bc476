"""Loads engines, and only then imports what they are made of, so that the worker serves at once."""

import os
import threading
from collections.abc import Callable

from services.inference_worker.config import WorkerSettings
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Engine

_IMPORTING = threading.Lock()


class LateEngineLoader:
    """An EngineLoader that imports torch, diffusers and the codecs when it is first used, unless that was done."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version. Raises WeightsUnavailable, OutOfMemory."""
        report(StartMoment(StartPhase.IMPORTS, "importing the libraries"))
        import_libraries(self._settings)
        from services.inference_worker.adapters.engines.loader import DiffusersEngineLoader

        return DiffusersEngineLoader(
            source=self._settings.weights_source,
            weights_dir=self._settings.home / "weights",
            device=self._settings.worker_device,
            threads=self._settings.worker_threads,
            compile_cache=self._settings.home / "compile-cache" if self._settings.compiles_kernels else None,
        ).load(version, report)


def import_libraries(settings: WorkerSettings) -> None:
    """Import all that engines and videos need: seconds of work. Who comes while another thread is at it waits for it.

    No device is touched.
    """
    with _IMPORTING:
        _set_environment(offline=settings.weights_source != "hub")
        import av  # noqa: F401 — imported here so that the first video does not wait for it

        from services.inference_worker.adapters.engines.loader import import_pipelines

        import_pipelines()


def _set_environment(*, offline: bool) -> None:
    """What the libraries read from the environment as they are imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    # Waiting threads sleep instead of spinning, which is much faster where several workers share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Decoding allocates and frees gigabytes; with small pages half of its time on a CPU goes into page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
