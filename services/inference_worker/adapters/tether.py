"""A worker that stops when the process that started it is gone, however that ended."""

import os
import signal
import threading

_STDIN, _CHUNK_BYTES = 0, 1024


def stop_at_the_end_of_stdin() -> None:
    """Have this process told to stop, as by SIGTERM, when the pipe that is its stdin is closed."""
    threading.Thread(target=_stop_at_the_end, name="tether", daemon=True).start()


def _stop_at_the_end() -> None:
    while os.read(_STDIN, _CHUNK_BYTES):  # without a buffer, whose lock would be in the way of the process's end
        pass
    os.kill(os.getpid(), signal.SIGTERM)
