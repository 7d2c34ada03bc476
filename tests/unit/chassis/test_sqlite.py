"""What SQLite alone has: a journal that a new file is given once."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from services.chassis.storage import sqlite


class Refused:
    """A cursor whose first statements another process is in the way of."""

    def __init__(self, connection: sqlite3.Connection, times: int) -> None:
        self._connection = connection
        self.left = times

    def execute(self, statement: str) -> Any:
        if self.left:
            self.left -= 1
            raise sqlite3.OperationalError("database is locked")
        return self._connection.execute(statement)


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "new.sqlite3", isolation_level=None)


def test_a_new_file_that_another_process_is_setting_up_is_waited_for(connection: sqlite3.Connection) -> None:
    cursor: Any = Refused(connection, times=3)
    sqlite._write_ahead(cursor)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_but_not_for_ever(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.05)
    cursor: Any = Refused(connection, times=1_000)
    with pytest.raises(sqlite3.OperationalError):
        sqlite._write_ahead(cursor)
    assert cursor.left > 900
    connection.close()
