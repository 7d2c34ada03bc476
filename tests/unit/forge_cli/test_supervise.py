"""Rules of keeping processes alive and of ending them, with real processes that do nothing."""

import configparser
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from forge_cli.failures import CommandFailed
from forge_cli.supervise import Program, Supervisor, supervisor_config

SLEEPER = [sys.executable, "-S", "-c", "import time; print('hello', flush=True); time.sleep(600)"]


def eventually(condition, seconds: float = 15.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture
def supervisor(tmp_path):
    programs = [
        Program("first", SLEEPER, order=10, stop_seconds=5),
        Program("second", SLEEPER, order=20, stop_seconds=5),
    ]
    found = Supervisor(programs, run_dir=tmp_path, logs_dir=tmp_path)
    found.start(os.environ)
    yield found
    found.kill()


def pids(supervisor) -> dict[str, int]:
    return {state.name: state.pid for state in supervisor.states() if state.is_running and state.pid}


def test_a_killed_program_comes_back_and_stop_ends_all_of_them(supervisor, tmp_path):
    before = eventually(lambda: len(found := pids(supervisor)) == 2 and found)
    hellos = partial(_hellos, tmp_path / "first.log")
    eventually(lambda: hellos() == 1)
    os.kill(before["first"], signal.SIGKILL)
    after = eventually(lambda: pids(supervisor).get("first") not in (None, before["first"]) and pids(supervisor))
    assert after["second"] == before["second"]
    eventually(lambda: hellos() == 2)  # one that is just being started may miss that it shall stop, and is then killed
    supervisor.stop(patience_seconds=10)
    assert not any(psutil.pid_exists(pid) for pid in after.values())
    assert not list(tmp_path.glob("*.sock"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_programs_do_not_outlive_a_supervisor_that_is_killed(supervisor, tmp_path):
    running = eventually(lambda: len(found := pids(supervisor)) == 2 and found)
    os.kill(int((tmp_path / "supervisord.pid").read_text()), signal.SIGKILL)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in running.values()))
    with pytest.raises(CommandFailed, match="supervisor ended unexpectedly"):
        eventually(supervisor.check, 5)


def test_a_socket_path_that_is_too_long_moves_to_the_temporary_directory(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    supervisor = Supervisor([], run_dir=deep, logs_dir=deep)
    supervisor.start(os.environ)
    try:
        eventually(lambda: (deep / "supervisord.pid").exists())
    finally:
        supervisor.stop(patience_seconds=10)


def config_of(programs, logs_dir: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(
        supervisor_config(programs, run_dir=Path("/run"), logs_dir=logs_dir, socket_path=Path("/run/s.sock"))
    )
    return parser


def test_programs_of_one_order_form_one_stage():
    programs = [Program("a", ["/a"], 10, 5), Program("b", ["/b"], 10, 5), Program("c", ["/c"], 20, 9)]
    parser = config_of(programs, Path("/logs"))
    assert parser["group:stage-10"]["programs"] == "a,b"
    assert parser["group:stage-20"]["priority"] == "20"
    assert parser["program:c"]["stopwaitsecs"] == "9"
    assert parser["program:c"]["autorestart"] == "true"


def test_a_program_is_told_what_is_its_own_and_not_what_it_must_not_have():
    program = Program("a", ["printenv"], 10, 5, environment={"OWN": "of a"}, without=["SECRET", "OTHER_SECRET"])
    environment = {"PATH": os.environ["PATH"], "SECRET": "1", "OTHER_SECRET": "2", "OPEN": "3"}
    said = subprocess.run(
        ["sh", "-c", program.command_line], env=environment, capture_output=True, text=True, check=True
    )
    assert {line for line in said.stdout.splitlines() if not line.startswith(("PATH=", "PWD=", "_=", "SHLVL="))} == {
        "OWN=of a",
        "OPEN=3",
    }


def test_spaces_and_percent_signs_in_paths_are_kept_and_comments_are_refused():
    parser = config_of([Program("a", ["/a b", "100%"], 10, 5)], Path("/my logs/50%"))
    assert "'/a b' 100%%" in parser["program:a"]["command"]
    assert parser["program:a"]["stdout_logfile"] == "/my logs/50%%%%/a.log"  # supervisord expands this one twice
    with pytest.raises(CommandFailed):
        config_of([Program("a", ["/a"], 10, 5)], Path("/my ;logs"))


SLOW_TO_END = """
import pathlib, signal, sys, time
def end(*_):
    with pathlib.Path(sys.argv[1]).open("a") as log:
        log.write(sys.argv[2] + " told\\n"); log.flush()
        time.sleep(0.3)
        log.write(sys.argv[2] + " gone\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("hello", flush=True)
time.sleep(600)
"""


def test_a_later_stage_is_gone_before_the_one_it_stands_on_is_told_to_stop(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_TO_END)

    def program(name: str, order: int) -> Program:
        command = [sys.executable, "-S", str(tmp_path / "slow.py"), str(tmp_path / "ends"), name]
        return Program(name, command, order=order, stop_seconds=5)

    programs = [program("catalog", 10), program("edge", 30), program("scheduler", 20)]
    found = Supervisor(programs, run_dir=tmp_path, logs_dir=tmp_path)
    found.start(os.environ)
    try:
        eventually(lambda: all("hello" in _text(tmp_path / f"{program.name}.log") for program in programs))
        found.stop(patience_seconds=10)
    finally:
        found.kill()
    assert _text(tmp_path / "ends").splitlines() == [
        f"{name} {word}" for name in ("edge", "scheduler", "catalog") for word in ("told", "gone")
    ]


def _hellos(log: Path) -> int:
    return _text(log).count("hello")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("when", ["asking", "waiting"])
def test_an_interrupted_stop_kills_what_is_left(supervisor, monkeypatch, when):
    running = eventually(lambda: len(found := pids(supervisor)) == 2 and found)

    def interrupted(*_):
        raise KeyboardInterrupt

    if when == "asking":
        monkeypatch.setattr(supervisor, "_ask", interrupted)
    else:
        monkeypatch.setattr(supervisor._process, "wait", InterruptedOnce(supervisor._process.wait))
    supervisor.stop(patience_seconds=10)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in running.values()))


class InterruptedOnce:
    """A wait that somebody interrupts with Ctrl-C, the first time."""

    def __init__(self, wait) -> None:
        self._wait = wait
        self._calls = 0

    def __call__(self, timeout: float | None = None) -> int:
        self._calls += 1
        if self._calls == 1:
            raise KeyboardInterrupt
        return self._wait(timeout)
