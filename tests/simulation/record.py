"""What happened, in order: the lines that tell a failing seed's story and make its fingerprint."""

import hashlib
from collections.abc import Callable

from tests.simulation.processes import PROCESS


class Broken(Exception):
    """A promise was broken. `promise` names it."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Record:
    """The lines of one simulation. It takes no more once it is closed."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._lines: list[tuple[float, str, str]] = []
        self.is_closed = False

    def __call__(self, what: str) -> None:
        """Note that the running process, or the world, does something."""
        if not self.is_closed:
            process = PROCESS.get()
            self._lines.append((self._time(), process.name if process else "-", what))

    def lines(self, last: int | None = None) -> list[str]:
        """The newest lines, for people."""
        chosen = self._lines if last is None else self._lines[-last:]
        return [f"{at:10.3f}  {who:<14} {what}" for at, who, what in chosen]

    def fingerprint(self) -> str:
        """The same for the same story."""
        digest = hashlib.blake2b(digest_size=12)
        for at, who, what in self._lines:
            digest.update(f"{at!r} {who} {what}\n".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._lines)
