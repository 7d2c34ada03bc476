"""Checks of the home: that it can be written, who else can read it, its links, its clock, its room."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground

_GIB, _MIB = 1024**3, 1024**2
_ROOMY_BYTES, _TIGHT_BYTES = 5 * _GIB, 512 * _MIB
_FEW_FILES = 10_000
_SLOW_SECONDS = 0.5
_AHEAD_SECONDS = 120.0
_EARLIEST = 1_763_000_000
"""Forge is not older than this, so no right clock says less: November 2025."""
_PRIVATE_FOLDERS = ("", "secrets", "tls", "state", "run", "logs")
_PRIVATE_FILES = ("api-key", "cli.toml", "secrets/*", "tls/*", "state/*", "run/envoy.yaml", "run/drain-token")
_PARTS = ("", "state", "objects", "weights", "logs", "run")


def place(ground: Ground) -> Iterator[Finding]:
    """That things can be written here, and get to the disk."""
    home = ground.home.path
    if not home.exists():
        parent = next(folder for folder in home.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield well("home", f"{home} does not exist yet: the first forge up makes it")
        else:
            yield broken("home", f"{home} cannot be made: {parent} is not ours to write", "choose another with --home")
        return
    if not home.is_dir():
        yield broken("home", f"{home} is no directory", "choose another with --home or FORGE_HOME")
        return
    try:
        began = time.monotonic()
        with tempfile.TemporaryFile(dir=home) as file:  # without a name: it is gone however this ends
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
        took = time.monotonic() - began
    except OSError as error:
        yield broken("home", f"{home} cannot be written: {error.strerror}", "make room or mend its owner and mode")
        return
    if took > _SLOW_SECONDS:
        text = f"{home} can be written, but a write took {took:.1f} s to reach the disk"
        yield doubtful("home", text, "use a faster disk: every event of a render is written so")
    else:
        yield well("home", f"{home} can be written; a write reaches the disk in {took * 1000:.1f} ms")


def room(ground: Ground) -> Iterator[Finding]:
    """Free space, on each disk that the home is on."""
    seen: set[int] = set()
    for folder in (ground.home.path / part for part in _PARTS):
        if not folder.exists() or folder.stat().st_dev in seen:
            continue
        seen.add(folder.stat().st_dev)
        free, files = shutil.disk_usage(folder).free, os.statvfs(folder)
        text = f"{free / _GIB:.1f} GiB are free where {folder} is"
        if free < _TIGHT_BYTES:
            yield broken("disk", text, "make room: renders wait while a disk is full")
        elif free < _ROOMY_BYTES:
            yield doubtful("disk", text, "make room before long: videos and checkpoints stay until they are deleted")
        elif files.f_files and files.f_favail < _FEW_FILES:
            yield doubtful("disk", f"{text}, but only for {files.f_favail} more files", "delete files there")
        else:
            yield well("disk", text)


def secrets(ground: Ground) -> Iterator[Finding]:
    """That only their owner can read the files that hold secrets."""
    home = ground.home.path
    folders = [home / name for name in _PRIVATE_FOLDERS]
    files = [found for pattern in _PRIVATE_FILES for found in sorted(home.glob(pattern))]
    looked_at = [(path, 0o700) for path in folders if path.is_dir()] + [
        (path, 0o600) for path in files if path.is_file()
    ]
    if not looked_at:
        yield well("secrets", "there are no secrets yet")
        return
    faults = 0
    for path, mode in looked_at:
        found = path.stat()
        if stat.S_IMODE(found.st_mode) & 0o077:
            faults += 1
            yield broken(
                "secrets",
                f"{path} can be reached by others (mode {stat.S_IMODE(found.st_mode):04o})",
                f"chmod {mode:o} {path}",
            )
        if found.st_uid != os.geteuid():
            faults += 1
            text = f"{path} belongs to user {found.st_uid}, and this is {os.geteuid()}"
            yield doubtful("secrets", text, "run Forge as one user, the owner of its home")
    if not faults:
        yield well("secrets", f"{len(looked_at)} files and directories are for their owner only")


def links(ground: Ground) -> Iterator[Finding]:
    """Where symbolic links of the home lead."""
    home = ground.home.path
    found = [
        path for path in (home, *home.glob("*"), *home.glob("secrets/*"), *home.glob("tls/*")) if path.is_symlink()
    ]
    for path in found:
        target = path.readlink()
        if not path.exists():
            yield broken("links", f"{path} leads to {target}, which is not there", "mend the link, or mount its disk")
        elif path.parent.name in ("secrets", "tls") or path.name == "api-key":
            yield doubtful("links", f"the secret {path} lies elsewhere: {target}", "see that only we can read it there")
        else:
            yield well("links", f"{path} leads to {target}")
    if not found:
        yield well("links", "nothing in the home is a symbolic link")


def clock(ground: Ground) -> Iterator[Finding]:
    """The time of day, held against what was written last."""
    now = time.time()
    home = ground.home.path
    files = [path for part in ("state", "run", "logs", "tls") for path in (home / part).glob("*") if path.is_file()]
    newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    if now < _EARLIEST:
        yield broken("clock", f"the clock says {time.ctime(now)}", "set it, best with NTP")
    elif newest and (ahead := newest.stat().st_mtime - now) > _AHEAD_SECONDS:
        text = f"{newest} was written {ahead / 60:.0f} min from now"
        yield broken("clock", f"the clock is behind: {text}", "set it, best with NTP")
    else:
        yield well("clock", f"the clock says {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(now))}")
