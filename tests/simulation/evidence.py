"""What really happened, read from the store's file at every commit: the product is not asked about itself."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.record import Record

Row = Mapping[str, Any]
"""A render as the store has it, in the words of its JSON."""

ACTIVE = frozenset({"running", "canceling"})
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True)
class Event:
    """An event of a log, and when it was committed in virtual seconds."""

    at: float
    seq: int
    body: Row
    text: str


@dataclass(frozen=True)
class Commit:
    """One event that was committed, with its render before (None for a new one) and after."""

    at: float
    before: Row | None
    row: Row
    event: Event

    @property
    def is_lease(self) -> bool:
        """Whether an attempt begins with it."""
        return self.before is not None and self.row["epoch"] > self.before["epoch"]

    @property
    def is_end(self) -> bool:
        """Whether an attempt ends with it."""
        return self.before is not None and self.before["status"] in ACTIVE and self.row["status"] not in ACTIVE


@dataclass
class Attempt:
    """One attempt as the commits tell it, in virtual seconds."""

    render_id: str
    account: str
    epoch: int
    runtime_id: str
    is_cold: bool
    """Whether a runtime had to be started for it."""
    began_at: float
    ended_at: float | None = None
    gpu_seconds: float = 0.0
    """What was billed for it, once it is over."""


@dataclass(frozen=True)
class Acknowledged:
    """A render that a client was told of."""

    at: float
    account: str
    key: str
    render_id: str


@dataclass(frozen=True)
class Sight:
    """What one call of a watcher saw of a log, keep-alives left out."""

    render_id: str
    after_seq: int
    events: list[tuple[int, str, int, str]] = field(default_factory=list)
    """(seq, status, attempt, message)."""


@dataclass
class Evidence:
    """All that the promises are checked against."""

    record: Record
    time: Callable[[], float]
    rows: dict[str, Row] = field(default_factory=dict)
    inputs: dict[str, Row] = field(default_factory=dict)
    logs: defaultdict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    attempts: list[Attempt] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    paused_steps: dict[str, int] = field(default_factory=dict)
    """The step each render was last paused after."""
    on_commit: list[Callable[[Commit], None]] = field(default_factory=list)
    """Told of every event that was committed. May raise Broken."""
    broken: Exception | None = None
    """The first promise that was broken."""
    _last_rowid: int = 0

    def look(self, file: sqlite3.Connection) -> None:
        """See what a commit has added."""
        query = "select rowid, render_id, seq, body from render_events where rowid > ? order by rowid"
        for rowid, render_id, seq, text in file.execute(query, (self._last_rowid,)).fetchall():
            self._last_rowid = rowid
            (body,) = file.execute("select body from renders where id = ?", (render_id,)).fetchone()
            self._take(file, render_id, json.loads(body), Event(self.time(), seq, json.loads(text), text))

    def _take(self, file: sqlite3.Connection, render_id: str, row: Row, event: Event) -> None:
        commit = Commit(event.at, self.rows.get(render_id), row, event)
        if commit.before is None:
            (inputs,) = file.execute("select body from render_inputs where render_id = ?", (render_id,)).fetchone()
            self.inputs[render_id] = json.loads(inputs)
        self.rows[render_id] = row
        self.logs[render_id].append(event)
        if row["status"] == "paused":
            self.paused_steps[render_id] = row["progress"]["done_steps"]
        if commit.is_lease:
            place = row["runtime_id"], row["was_cold_start"]
            self.attempts.append(Attempt(render_id, row["account"], row["epoch"], *place, event.at))
        elif commit.is_end:
            attempt = self.attempt(render_id)
            attempt.ended_at, attempt.gpu_seconds = event.at, row["attempts"][-1]["gpu_seconds"]
        said = event.body
        self.record(f"{render_id} {said['seq']}: {said['status']}/{said['phase']} a{said['attempt']} {said['message']}")
        try:
            for told in self.on_commit:
                told(commit)
        except Exception as error:
            self.broken = self.broken or error

    def attempt(self, render_id: str) -> Attempt:
        """The newest attempt of a render."""
        return next(attempt for attempt in reversed(self.attempts) if attempt.render_id == render_id)

    def unsettled(self) -> list[str]:
        """Renders that are neither at their end nor paused."""
        return [name for name, row in self.rows.items() if row["status"] not in FINAL and row["status"] != "paused"]
