"""The promises that hold after any fault, checked on what the scheduler has written down."""

import hashlib
import itertools
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

Objects = Callable[[str], bytes | None]
"""What is under a key, None when nothing is."""

MAX_LOSSES = 3
_PATIENCE_SECONDS = 60.0
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})

# Which status may follow which in a log. Written down again on purpose: the code's own table must not judge itself.
MOVES: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "canceled", "expired"}),
    "running": frozenset({"succeeded", "failed", "canceling", "paused", "queued"}),
    "paused": frozenset({"queued", "canceled", "expired"}),
    "canceling": frozenset({"canceled", "succeeded", "failed"}),
}


@dataclass
class Findings:
    """Broken promises, each with its render."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.gaps or self.others)

    def __iadd__(self, more: "Findings") -> "Findings":
        for name in ("lost", "duplicated", "gaps", "others"):
            getattr(self, name).extend(getattr(more, name))
        return self

    def lines(self) -> list[str]:
        """One line for each."""
        kinds = ("lost", "duplicated", "gaps", "others")
        return [f"{kind}: {finding}" for kind in kinds for finding in getattr(self, kind)]


@dataclass(frozen=True)
class Record:
    """A render as it is stored, with its log."""

    body: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        """Its identifier."""
        return self.body["id"]


class Ledger:
    """Read-only access to the scheduler's database, whoever else has it open."""

    def __init__(self, database: Path) -> None:
        self._uri = f"file:{database}?mode=ro"

    def body(self, render_id: str) -> dict[str, Any] | None:
        """A render as it is stored now."""
        rows = self._rows("select body from renders where id = ?", render_id)
        return json.loads(rows[0][0]) if rows else None

    def attempts(self, render_id: str) -> list[dict[str, Any]]:
        """Its attempts so far."""
        return (self.body(render_id) or {}).get("attempts", [])

    def events(self, render_id: str) -> list[dict[str, Any]]:
        """Its log, each event with its number as the key of its row has it."""
        rows = self._rows("select seq, body from render_events where render_id = ? order by seq", render_id)
        return [json.loads(body) | {"seq": seq} for seq, body in rows]

    def ids(self, after: str = "") -> list[str]:
        """All renders accepted after the one with this id."""
        return [row[0] for row in self._rows("select id from renders where id > ? order by id", after)]

    def unfinished(self) -> list[str]:
        """Renders that have not ended."""
        ended = ", ".join(f"'{status}'" for status in sorted(FINAL))
        return [row[0] for row in self._rows(f"select id from renders where status not in ({ended})")]

    def with_key(self, key: str) -> list[str]:
        """Renders of an idempotency key."""
        return [row[0] for row in self._rows("select id from renders where idempotency_key = ?", key)]

    def runtimes(self) -> dict[str, dict[str, Any]]:
        """Every runtime that is known, by its identifier."""
        return {row[0]: json.loads(row[1]) for row in self._rows("select id, body from runtimes")}

    def record(self, render_id: str) -> Record | None:
        """A render and its log."""
        body = self.body(render_id)
        return Record(body, self.events(render_id)) if body else None

    def _rows(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._uri, uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()


class PostgresqlLedger(Ledger):
    """The same in a PostgreSQL; while that is away, whoever asks waits."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _rows(self, query: str, *values: object) -> list[Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with psycopg.connect(self._url, options="-c search_path=scheduler") as connection:
                    return connection.execute(query.replace("?", "%s").encode(), values).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def in_folder(folder: Path) -> Objects:
    """Objects that are files."""

    def found(key: str) -> bytes | None:
        file = folder / key
        return file.read_bytes() if file.is_file() else None

    return found


def check(
    ledger: Ledger, objects: Objects, render_ids: Collection[str], *, wall_clock_jumped: bool = False
) -> Findings:
    """Every promise that can be seen broken in these renders, all of which must have ended."""
    found = Findings()
    records: list[Record] = []
    for render_id in render_ids:
        record = ledger.record(render_id)
        if record is None:
            found.lost.append(f"{render_id} was accepted and is not there")
            continue
        records.append(record)
        if record.body["status"] not in FINAL:
            found.lost.append(f"{render_id} is {record.body['status']} for ever")
        if (kept := record.body["checkpoint_key"]) and objects(kept) is None:
            found.lost.append(f"{render_id} would go on from {kept}, which is gone")
        found.gaps += _gaps(record)
        found.duplicated += _outputs(record, objects)
        found.others += [*_illegal_moves(record), *_too_many_losses(record), *_late_starts(record)]
        if not wall_clock_jumped:
            found.others += _overcharged(record)
    if not wall_clock_jumped:
        found.others += _shared_runtimes(records)
    return found


def _gaps(record: Record) -> Iterator[str]:
    """Numbers are 1, 2, 3, … up to the row's own; attempts and the steps of one attempt never go back."""
    numbers = [event["seq"] for event in record.events]
    if numbers != list(range(1, record.body["last_seq"] + 1)):
        yield f"{record.id} has events {_ranges(numbers)}, and last_seq {record.body['last_seq']}"
    for before, after in itertools.pairwise(record.events):
        if after["attempt"] < before["attempt"]:
            yield f"{record.id} goes back from attempt {before['attempt']} to {after['attempt']} at {after['seq']}"
        same_run = after["attempt"] == before["attempt"] and after["status"] == before["status"] == "running"
        if same_run and after["progress"]["done_steps"] < before["progress"]["done_steps"]:
            yield f"{record.id} loses steps within attempt {after['attempt']} at {after['seq']}"


def _outputs(record: Record, objects: Objects) -> Iterator[str]:
    """A success is told once, and its video is there, whole, and of the row's own epoch; nothing else has one."""
    told = sum(event["status"] == "succeeded" for event in record.events)
    output, epoch = record.body["output"], record.body["epoch"]
    if record.body["status"] != "succeeded":
        if told or output:
            yield f"{record.id} is {record.body['status']} and has a video"
        return
    if told != 1:
        yield f"{record.id} succeeded {told} times"
    if output["key"] != f"renders/{record.id}/{epoch}/video.mp4":
        yield f"{record.id} is at epoch {epoch} and published {output['key']}"
        return
    video = objects(output["key"])
    if video is None or hashlib.sha256(video).hexdigest() != output["sha256"]:
        yield f"{record.id} published a video that is missing or another one"


def _illegal_moves(record: Record) -> Iterator[str]:
    statuses = [event["status"] for event in record.events]
    if statuses[:1] != ["queued"]:
        yield f"{record.id} began as {statuses[:1]}"
    for before, after in itertools.pairwise(statuses):
        if before in FINAL or (after != before and after not in MOVES[before]):
            yield f"{record.id} went from {before} to {after}"
    if statuses and statuses[-1] != record.body["status"]:
        yield f"{record.id} is {record.body['status']}, but its log ends with {statuses[-1]}"


def _too_many_losses(record: Record) -> Iterator[str]:
    lost = sum(attempt["outcome"] == "lost" for attempt in record.body["attempts"])
    if lost > MAX_LOSSES or lost != record.body["losses"]:
        yield f"{record.id} lost {lost} workers, and counts {record.body['losses']}"


def _late_starts(record: Record) -> Iterator[str]:
    """No attempt begins after the moment the render is given up."""
    limits = [record.body[name] for name in ("expires_at", "deadline") if record.body.get(name)]
    for attempt in record.body["attempts"]:
        if any(_moment(attempt["began_at"]) > _moment(limit) for limit in limits):
            yield f"{record.id} began attempt {attempt['attempt']} after it was to be given up"


def _overcharged(record: Record) -> Iterator[str]:
    """Nobody pays for more than the time between the beginning and the end of an attempt."""
    for attempt in record.body["attempts"]:
        if attempt["ended_at"] is None:
            continue
        lasted = (_moment(attempt["ended_at"]) - _moment(attempt["began_at"])).total_seconds()
        if not 0 <= attempt["gpu_seconds"] <= lasted + 0.1:
            yield f"{record.id} pays {attempt['gpu_seconds']:.1f} s for an attempt of {lasted:.1f} s"


def _shared_runtimes(records: Sequence[Record]) -> Iterator[str]:
    """No second of a runtime is two attempts'."""
    by_runtime: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for record in records:
        for attempt in record.body["attempts"]:
            if attempt["ended_at"] is not None:
                times = _moment(attempt["began_at"]), _moment(attempt["ended_at"])
                by_runtime[attempt["runtime_id"]].append((*times, f"{record.id}/{attempt['epoch']}"))
    for runtime_id, held in by_runtime.items():
        for (_, end, before), (begin, _, after) in itertools.pairwise(sorted(held)):
            if begin < end:
                yield f"{before} and {after} held {runtime_id} at the same time"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in words: "1-4, 6-9"."""
    runs = []
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append(f"{run[0]}-{run[-1]}")
    return ", ".join(runs) or "none"
