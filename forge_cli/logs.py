"""The services' log files, followed while they grow, and their lines in a quiet form for people."""

import json
import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

_LEVELS = {"trace": 0, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "exception": 40}
_WARNING = _LEVELS["warning"]
# What the prefix already says, or what only the file needs.
_HIDDEN_FIELDS = frozenset({"event", "level", "timestamp", "service", "trace_id", "exception", "logger"})
_WORK_FIELDS = frozenset({"render_id", "runtime_id"})
_ENVOY_LINE = re.compile(
    r"^\[[0-9-]+ [0-9:.]+\]\[\d+\]\[(?P<level>\w+)\]\[(?P<part>[\w.-]+)\] (\[[^\]]*\] )?(?P<message>.*)$"
)
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class LogLine:
    """One line of a service. `level` counts as in `logging`; `fields` are what the line says beside its message."""

    service: str
    level: int
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    is_important: bool = False
    """Whether people want to see it without asking: a logged warning, or news of a render or runtime."""
    is_log: bool = True
    """False for text that was not written as a log line."""

    @property
    def level_name(self) -> str:
        """The level as it is printed."""
        names = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
        return names.get(self.level, "DEBUG")

    @property
    def text(self) -> str:
        """The message with its fields: "render finished render_id=…"."""
        return " ".join([self.message, *(f"{key}={value}" for key, value in self.fields.items())])


def read_line(service: str, raw: str) -> LogLine:
    """A log line as `service` wrote it: structlog JSON, Envoy's text or access log, or whatever else a process prints.

    Text that is no log line is what a crash leaves behind: a warning, but only of interest once the process has ended.
    """
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    if isinstance(record, dict) and "event" in record:
        return _from_record(service, record)
    if isinstance(record, dict) and "path" in record:
        return _from_access(service, record)
    if match := _ENVOY_LINE.match(raw):
        level = _LEVELS.get(match["level"], _WARNING)
        fields = {"part": match["part"]}
        return LogLine(service, level, _printable(match["message"]), fields, is_important=level >= _WARNING)
    return LogLine(service, _WARNING, _printable(raw.rstrip()), is_log=False)


def _from_record(service: str, record: Mapping[str, Any]) -> LogLine:
    level = _LEVELS.get(str(record.get("level", "info")).lower(), _LEVELS["info"])
    fields = {str(key): _value(value) for key, value in record.items() if key not in _HIDDEN_FIELDS}
    if raised := _raised(record.get("exception")):
        fields["exception"] = raised
    return LogLine(
        str(record.get("service") or service),
        level,
        _printable(str(record["event"])),
        fields,
        is_important=level >= _WARNING or not _WORK_FIELDS.isdisjoint(record),
    )


def _from_access(service: str, record: Mapping[str, Any]) -> LogLine:
    """A request, as the edge logs it once it is over."""
    answer = record.get("grpc_status") or record.get("status")
    told = {key: _value(record[key]) for key in ("duration_ms", "details", "request_id") if key in record}
    return LogLine(service, _LEVELS["info"], _value(f"{record.get('method')} {record['path']} {answer}"), told)


def _raised(exception: Any) -> str:
    """The kind and text of a structured exception; the file has its stack."""
    if isinstance(exception, list) and exception and isinstance(exception[0], dict):
        return _value(f"{exception[0].get('exc_type', '')}: {exception[0].get('exc_value', '')}")
    return _value(exception.strip().splitlines()[-1]) if isinstance(exception, str) and exception.strip() else ""


def _value(value: Any) -> str:
    text = _printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _printable(text: str) -> str:
    """Text without control characters: a log line must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


class LogFollower:
    """The lines that services append to their files from now on. Files may be rotated, or not exist yet."""

    def __init__(self, directory: Path, services: list[str]) -> None:
        self._tails = {service: _Tail(directory / f"{service}.log") for service in services}
        self._recent: dict[str, deque[LogLine]] = {service: deque(maxlen=200) for service in services}

    def poll(self) -> list[LogLine]:
        """What was written since the last call."""
        lines: list[LogLine] = []
        for service, tail in self._tails.items():
            for raw in tail.poll():
                line = read_line(service, raw)
                self._recent[service].append(line)
                lines.append(line)
        return lines

    def recent(self, service: str, count: int) -> list[LogLine]:
        """The last lines of one service that were polled, oldest first."""
        return list(self._recent[service])[-count:]

    def recent_warnings(self, count: int) -> list[LogLine]:
        """The last warnings and errors of all services, and what crashes left behind."""
        found = [line for lines in self._recent.values() for line in lines if line.level >= _WARNING]
        return found[-count:]

    def close(self) -> None:
        """Let the files go."""
        for tail in self._tails.values():
            tail.close()


class _Tail:
    """What is appended to one file after this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._rest = b""
        if path.exists():
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def poll(self) -> list[str]:
        data = self._file.read() if self._file else b""
        if self._was_replaced():
            self.close()
            self._file = self._path.open("rb")
            data += self._file.read()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _was_replaced(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or status.st_ino != os.fstat(self._file.fileno()).st_ino
