"""Small disks that can be filled: memory mounted where a service writes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "96m"
_FILLER = "filler"
_REENTERED = "FAULTS_IN_NAMESPACE"


def can_be_mounted() -> bool:
    """Whether this process may mount memory."""
    return _succeeds("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def can_be_mounted_in_a_namespace() -> bool:
    """Whether a user namespace of our own would let us."""
    return _succeeds("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def enter_a_namespace() -> None:
    """Become root of a user namespace, by starting this command once more, where only that lets memory be mounted."""
    if _REENTERED not in os.environ and not can_be_mounted() and can_be_mounted_in_a_namespace():
        command = ["unshare", "-rm", sys.executable, *sys.orig_argv[1:]]
        os.execvpe(command[0], command, os.environ | {_REENTERED: "1"})


@contextmanager
def mounted(*directories: Path) -> Iterator[None]:
    """A small disk at each directory while the block runs."""
    done: list[Path] = []
    try:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", directory], check=True)
            done.append(directory)
        yield
    finally:
        for directory in done:
            subprocess.run(["umount", "--lazy", directory], check=False)


def fill(directory: Path) -> None:
    """Leave no free block on the disk."""
    with (directory / _FILLER).open("ab", buffering=0) as filler:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


def clear(directory: Path) -> None:
    """Give the space back."""
    (directory / _FILLER).unlink(missing_ok=True)


def free_bytes(directory: Path) -> int:
    """What is left."""
    return shutil.disk_usage(directory).free


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
