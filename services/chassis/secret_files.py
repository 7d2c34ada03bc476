"""Secrets in files that only their owner can read."""

import contextlib
import os
import secrets
from pathlib import Path


class SecretFile:
    """One secret in one file. It is there whole or not at all, also when the machine stops half-way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, secret: str) -> None:
        """Put `secret` in place of what was there."""
        self._written_aside(secret).replace(self._path)
        self._sync_folder()

    def read_or_write(self, secret: str) -> str:
        """What the file holds; `secret`, once it does, when there was none. All who ask at once get the same answer.

        A file that is there is only read: it may be one that nobody here can write.
        """
        with contextlib.suppress(FileNotFoundError):
            return self._read()
        aside = self._written_aside(secret)
        with contextlib.suppress(FileExistsError):
            self._path.hardlink_to(aside)
        aside.unlink()
        self._sync_folder()
        return self._read()

    def _read(self) -> str:
        return self._path.read_text(encoding="ascii").strip()

    def _written_aside(self, secret: str) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        return aside

    def _sync_folder(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
