"""What watches over the faults sees every broken promise: each is broken here once, in a ledger made by hand."""

import copy
import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.promises import Findings, Ledger, check, in_folder

VIDEO = b"a video"
RENDER = "rnd_1"


def at(second: float) -> str:
    return f"2030-01-01T00:00:{second:06.3f}Z"


def an_attempt(number: int, outcome: str, began: float, ended: float, **changes: Any) -> dict[str, Any]:
    return {
        "attempt": number,
        "epoch": number,
        "runtime_id": f"rt_{number}",
        "began_at": at(began),
        "ended_at": at(ended),
        "gpu_seconds": ended - began,
        "outcome": outcome,
        **changes,
    }


def events() -> list[dict[str, Any]]:
    """Accepted, begun, lost, begun again, succeeded."""
    rows = [
        ("queued", 0, 0),
        ("running", 1, 0),
        ("running", 1, 3),
        ("queued", 1, 0),
        ("running", 2, 2),
        ("running", 2, 4),
        ("succeeded", 2, 4),
    ]
    return [
        {"seq": seq, "status": status, "attempt": attempt, "progress": {"done_steps": steps}}
        for seq, (status, attempt, steps) in enumerate(rows, start=1)
    ]


def body() -> dict[str, Any]:
    return {
        "id": RENDER,
        "status": "succeeded",
        "epoch": 2,
        "last_seq": 7,
        "losses": 1,
        "expires_at": None,
        "deadline": at(50),
        "checkpoint_key": "",
        "attempts": [an_attempt(1, "lost", 1, 5), an_attempt(2, "succeeded", 6, 9)],
        "output": {"key": f"renders/{RENDER}/2/video.mp4", "sha256": hashlib.sha256(VIDEO).hexdigest()},
    }


Checked = Callable[..., Findings]


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """Writes renders down as the scheduler does, with one video, and checks them."""

    def run(*records: tuple[dict[str, Any], list[dict[str, Any]]], ids: tuple[str, ...] = (RENDER,)) -> Findings:
        database = tmp_path / "scheduler.sqlite3"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("create table renders (id, status, idempotency_key, body)")
            connection.execute("create table render_events (render_id, seq, body)")
            for row, log in records:
                values = (row["id"], row["status"], None, json.dumps(row))
                connection.execute("insert into renders values (?, ?, ?, ?)", values)
                for event in log:
                    seq = (row["id"], event["seq"], json.dumps(event))
                    connection.execute("insert into render_events values (?, ?, ?)", seq)
        video = tmp_path / "renders" / RENDER / "2" / "video.mp4"
        video.parent.mkdir(parents=True)
        video.write_bytes(VIDEO)
        return check(Ledger(database), in_folder(tmp_path), ids)

    return run


def test_a_render_that_kept_every_promise_is_not_complained_of(checked: Checked):
    assert not checked((body(), events()))


def test_a_render_that_is_not_there_is_lost(checked: Checked):
    assert checked((body(), events()), ids=(RENDER, "rnd_2")).lost == ["rnd_2 was accepted and is not there"]


def test_a_render_that_never_ends_is_lost(checked: Checked):
    waiting = body() | {"status": "queued", "last_seq": 4, "output": None}
    assert checked((waiting, events()[:4])).lost


def test_a_render_whose_checkpoint_is_gone_has_lost_work(checked: Checked):
    failed = body() | {
        "status": "failed",
        "output": None,
        "checkpoint_key": f"renders/{RENDER}/2/checkpoint.safetensors",
    }
    log = [*events()[:-1], events()[-1] | {"status": "failed"}]
    assert len(checked((failed, log)).lost) == 1


def _without(seq: int) -> list[dict[str, Any]]:
    return [event for event in events() if event["seq"] != seq]


def _changed(seq: int, **changes: Any) -> list[dict[str, Any]]:
    return [event | changes if event["seq"] == seq else event for event in events()]


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(_without(3), id="an event is missing"),
        pytest.param(_without(7), id="the last event is missing"),
        pytest.param([*events(), events()[-1]], id="an event is there twice"),
        pytest.param(_changed(6, attempt=1), id="an older attempt writes after a newer one"),
        pytest.param(_changed(6, progress={"done_steps": 1}), id="an attempt loses steps"),
    ],
)
def test_a_log_with_a_gap_or_one_that_goes_back_is_seen(checked: Checked, log: list[dict[str, Any]]):
    assert checked((body(), log)).gaps


@pytest.mark.parametrize(
    ("changes", "log"),
    [
        ({"output": body()["output"] | {"key": f"renders/{RENDER}/1/video.mp4"}}, events()),
        ({"output": body()["output"] | {"sha256": "0"}}, events()),
        ({}, _changed(6, status="succeeded")),
        ({"status": "failed"}, _changed(7, status="failed")),
    ],
    ids=["of another epoch", "not the bytes that are stored", "published twice", "of a render that failed"],
)
def test_an_output_that_is_not_the_only_one_of_its_epoch_is_seen(
    checked: Checked, changes: dict[str, Any], log: list[dict[str, Any]]
):
    assert checked((body() | changes, log)).duplicated


def _attempts(*attempts: dict[str, Any]) -> dict[str, Any]:
    return {"attempts": list(attempts)}


@pytest.mark.parametrize(
    ("changes", "log"),
    [
        ({}, _changed(4, status="canceled")),
        ({}, _changed(1, status="running")),
        ({"status": "failed", "output": None}, _changed(7, status="running")),
        ({"losses": 0}, events()),
        ({"deadline": at(5.5)}, events()),
        (_attempts(an_attempt(1, "lost", 1, 5, gpu_seconds=9), an_attempt(2, "succeeded", 6, 9)), events()),
    ],
    ids=[
        "it goes on after its end",
        "it does not begin in the queue",
        "its log ends otherwise",
        "a loss is not counted",
        "an attempt begins after its deadline",
        "more is paid than was held",
    ],
)
def test_every_other_broken_promise_is_seen(checked: Checked, changes: dict[str, Any], log: list[dict[str, Any]]):
    assert checked((body() | changes, log)).others


def test_four_losses_are_too_many(checked: Checked):
    attempts = [an_attempt(number, "lost", number, number + 0.5) for number in range(1, 5)]
    assert any(
        "lost 4 workers" in line for line in checked((body() | {"losses": 4, "attempts": attempts}, events())).others
    )


def test_two_attempts_that_held_a_runtime_at_once_are_seen(checked: Checked):
    other, log = copy.deepcopy(body()) | {"id": "rnd_2"}, events()
    other["attempts"] = [an_attempt(1, "lost", 4, 4.5), an_attempt(2, "succeeded", 10, 11)]
    found = checked((body(), events()), (other, log), ids=(RENDER, "rnd_2")).others
    assert any("held rt_1 at the same time" in line for line in found)
