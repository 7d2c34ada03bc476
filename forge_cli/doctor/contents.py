"""Checks of what the installation rests on: databases, objects, a cluster and certificates."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground
from forge_cli.doctor.running import pid_of

_DATABASES = ("*.sqlite3", "*.sqlite")
_LONGEST_SECONDS = 30.0
_STEPS = 100_000
_SOON = timedelta(days=30)


def databases(ground: Ground) -> Iterator[Finding]:
    """That every database holds together, also while the platform writes them, and that a server answers."""
    kept = {"faults": [], "server": "", **ground.services.get("database", {})}
    for fault in kept["faults"]:
        remedy = "start that server, or mend FORGE_DATABASE_URL"
        yield broken("databases", f"PostgreSQL does not answer: {fault}", remedy)
    if kept["server"]:
        yield well("databases", f"{kept['server']} answers; what it holds is for its own tools to look after")
    found = sorted(path for pattern in _DATABASES for path in ground.home.state_dir.glob(pattern))
    for path in found:
        try:
            faults = _faults(path)
        except sqlite3.OperationalError as error:
            text = f"{path} could not be looked at: {error}"
            yield doubtful("databases", text, "look again when less is done; a huge database takes its time")
        except sqlite3.DatabaseError as error:
            yield broken("databases", f"{path} is damaged: {error}", "stop the platform and take state/ from a backup")
        else:
            if faults:
                remedy = "stop the platform and take state/ from a backup"
                yield broken("databases", f"{path} is damaged: {'; '.join(faults[:3])}", remedy)
            else:
                yield well("databases", f"{path.name} holds together ({path.stat().st_size / 1024**2:.1f} MiB)")
    if not (found or kept["faults"] or kept["server"]):
        yield well("databases", "there are no databases yet")


def objects(ground: Ground) -> Iterator[Finding]:
    """That a bucket takes an object and gives it back; a folder is in the home, which is looked at anyway."""
    kept = {"faults": [], "bucket": "", **ground.services.get("objects", {})}
    for fault in kept["faults"]:
        remedy = "mend FORGE_OBJECTS_URL and the AWS_ variables, or start that server"
        yield broken("objects", fault.removeprefix("FORGE_OBJECTS_URL: "), remedy)
    if kept["bucket"] and not kept["faults"]:
        yield well("objects", f"{kept['bucket']} takes objects and gives them back")


def cluster(ground: Ground) -> Iterator[Finding]:
    """That a Ray cluster answers, where workers run on one, and that it has the machines that the fleet names."""
    kept = {"faults": [], "address": "", "machines": 0, "slots": [], **ground.services.get("cluster", {})}
    for fault in kept["faults"]:
        remedy = "mend RAY_ADDRESS and the RAY_AUTH_ variables, or start that cluster"
        yield broken("cluster", fault.removeprefix("RAY_ADDRESS: "), remedy)
    if not kept["address"]:
        return
    absent = [
        f"{slot['all'] - slot['there']} of {slot['target']}" for slot in kept["slots"] if slot["there"] < slot["all"]
    ]
    told = f"{kept['address']} has {kept['machines']} machines"
    if absent:
        remedy = "start those machines with the labels that the fleet file names; until then what needs them waits"
        yield doubtful("cluster", f"{told}; slots without one: {', '.join(absent)}", remedy)
    else:
        yield well("cluster", f"{told}, with room for every slot of the fleet")


def _faults(path: Path) -> list[str]:
    deadline = time.monotonic() + _LONGEST_SECONDS
    with _readable(path) as address, closing(sqlite3.connect(address, uri=True, timeout=5.0)) as database:
        database.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        rows = database.execute("PRAGMA quick_check(10)").fetchall()
    return [text for (text,) in rows if text != "ok"]


@contextmanager
def _readable(path: Path) -> Iterator[str]:
    """An address at which the database can be read without leaving a trace.

    SQLite makes files beside one that it only reads: unless they are there already, or it is told that nobody writes.
    """
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if log.exists() and index.exists():
        yield f"{path.absolute().as_uri()}?mode=ro"
    elif not log.exists():
        yield f"{path.absolute().as_uri()}?immutable=1"
    else:  # a platform was killed: what its log holds belongs to the database
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                shutil.copy(file, folder)
            yield f"{(Path(folder) / path.name).as_uri()}?mode=ro"


def certificates(ground: Ground) -> Iterator[Finding]:
    """The certificates that the programs know each other by; each start makes new ones."""
    folder = ground.home.tls_dir
    files = sorted(folder.glob("*.pem"))
    if not files:
        yield well("certificates", "there are no certificates yet: each start makes them")
        return
    from cryptography import x509  # here: without it everything else can still be looked at

    faults = 0
    for file in files:
        if not os.access(file, os.R_OK) or not os.access(file.with_suffix(".key"), os.R_OK):
            faults += 1
            yield broken(
                "certificates", f"{file} or its key cannot be read", "restart the platform as the home's owner"
            )
            continue
        try:
            found = x509.load_pem_x509_certificate(file.read_bytes())
        except ValueError as error:
            faults += 1
            yield broken("certificates", f"{file} is no certificate: {error}", "restart the platform: forge up")
            continue
        for finding in _lifetime(
            file, found.not_valid_before_utc, found.not_valid_after_utc, is_used=bool(pid_of(ground.home))
        ):
            faults += 1
            yield finding
    if not faults:
        yield well("certificates", f"{len(files)} certificates can be read and are valid")


def _lifetime(file: Path, begins: datetime, ends: datetime, *, is_used: bool) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now < begins:
        text = f"{file.name} is valid only from {begins:%Y-%m-%d %H:%M} UTC on"
        yield broken("certificates", text, "set the clock, then restart the platform")
    elif ends < now and is_used:
        yield broken("certificates", f"{file.name} has ended on {ends:%Y-%m-%d}", "restart the platform: forge up")
    elif ends < now + _SOON:
        verb = "has ended" if ends < now else "ends"
        yield doubtful("certificates", f"{file.name} {verb} on {ends:%Y-%m-%d}", "the next forge up makes a new one")
