"""Rules of how service logs are read and followed."""

import json

import pytest

from forge_cli.commands.up import log_text
from forge_cli.logs import LogFollower, read_line


def structured(**record) -> str:
    return json.dumps({"level": "info", "timestamp": "2026-01-01T00:00:00Z", "trace_id": "f" * 32, **record})


def test_a_structured_line_shows_service_level_message_and_fields():
    line = read_line("scheduler", structured(event="render finished", service="scheduler", render_id="rnd_1", steps=25))
    assert log_text(line).plain == "scheduler        | INFO  render finished render_id=rnd_1 steps=25"


@pytest.mark.parametrize(
    ("record", "important"),
    [
        ({"event": "serving", "port": 1}, False),
        ({"event": "render finished", "render_id": "rnd_1"}, True),
        ({"event": "slow", "level": "warning"}, True),
        ({"event": "broken", "level": "error"}, True),
    ],
)
def test_only_warnings_and_what_concerns_renders_and_runtimes_is_important(record, important):
    assert read_line("catalog", structured(**record)).is_important is important


def test_a_worker_that_writes_through_the_scheduler_keeps_its_name():
    assert read_line("scheduler", structured(event="loaded", service="inference-worker")).service == "inference-worker"


def test_a_structured_exception_is_told_in_one_line():
    exception = [{"exc_type": "ValueError", "exc_value": "no", "frames": [{}]}]
    line = read_line("catalog", structured(event="unexpected error", level="error", exception=exception))
    assert line.text == "unexpected error exception=ValueError: no"


def test_envoy_lines_have_their_level():
    raw = "[2026-11-20 09:12:00.123][42][error][upstream] [source/common/x.cc:12] cluster is gone"
    line = read_line("edge", raw)
    assert (line.level_name, line.message) == ("ERROR", "cluster is gone")
    assert not read_line("edge", raw.replace("[error]", "[info]")).is_important


def test_requests_at_the_edge_are_no_news():
    access = {"method": "POST", "path": "/v1/renders", "status": 200, "grpc_status": "OK", "duration_ms": 5}
    line = read_line("edge", json.dumps(access))
    assert line.text == "POST /v1/renders OK duration_ms=5"
    assert not line.is_important


def test_what_is_no_log_line_is_a_warning_and_cannot_steer_the_terminal():
    line = read_line("catalog", "ImportError: \x1b[31mno module")
    assert line.level_name == "WARN"
    assert "\x1b" not in line.text
    assert not line.is_important


def test_only_new_lines_are_followed_across_rotation_and_halves(tmp_path):
    log = tmp_path / "catalog.log"
    log.write_text("old\n")
    follower = LogFollower(tmp_path, ["catalog", "scheduler"])
    with log.open("a") as file:
        file.write("one\ntw")
    assert [line.message for line in follower.poll()] == ["one"]
    with log.open("a") as file:
        file.write("o\nthree\n")
    log.rename(tmp_path / "catalog.log.1")
    log.write_text("four\n")
    (tmp_path / "scheduler.log").write_text("five\n")
    assert [line.message for line in follower.poll()] == ["two", "three", "four", "five"]
    assert [line.message for line in follower.recent("catalog", 2)] == ["three", "four"]
    assert follower.poll() == []
    follower.close()
