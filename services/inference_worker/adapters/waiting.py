"""A process that has imported what engines need, and waits to be told which worker it is."""

import json
import os
import sys
import threading

from services.inference_worker.adapters.late_engine_loader import import_libraries
from services.inference_worker.config import WorkerSettings

_NICENESS = 10


def wait_to_be_told() -> None:
    """Return when a line on stdin, a JSON object, has told this process its environment; import meanwhile.

    Ends the process when stdin ends first: nobody is left who could need it. Ends it too, so that another is started
    instead, when the libraries were imported for another source of weights than that of the worker it shall become.
    """
    before = WorkerSettings()
    threading.Thread(target=_import, args=(before,), name="imports", daemon=True).start()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(0)  # an import cannot be interrupted, and Python would wait for it
    os.environ.update(json.loads(line))
    if (WorkerSettings().weights_source == "hub") != (before.weights_source == "hub"):
        os._exit(1)


def _import(settings: WorkerSettings) -> None:
    """Import without being in the way of those who work. Only this thread steps back: there is no way forward again."""
    if sys.platform == "linux":  # elsewhere priorities are of processes, not of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    import_libraries(settings)
