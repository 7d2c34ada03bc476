"""Workers as real processes."""

import sys
from pathlib import Path

import psutil
import pytest

from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.domain.fleet import Slot, Target
from services.scheduler.ports import WorkerProcess

SLOT = Slot("slot-0", Target("CPU", "local"), "cpu")


@pytest.fixture
def placer(tmp_path: Path) -> LocalPlacer:
    return LocalPlacer(tmp_path, environment={"FORGE_HOME": str(tmp_path)}, launch_seconds=30, stop_seconds=10)


async def test_a_worker_lives_from_its_launch_to_its_end(placer, tmp_path):
    process = await placer.launch("rt_1", SLOT)
    assert await placer.is_alive("rt_1", process)
    assert psutil.Process(process.pid).environ()["FORGE_WORKER_DEVICE"] == "cpu"
    await placer.terminate("rt_1", process)
    assert not await placer.is_alive("rt_1", process)
    assert not list((tmp_path / "run").glob("rt_1*"))


async def test_a_pid_that_now_belongs_to_somebody_else_is_not_the_worker(placer):
    stranger = WorkerProcess("127.0.0.1:1", psutil.Process().pid)
    assert not await placer.is_alive("rt_1", stranger)
    await placer.terminate("rt_1", stranger)
    assert psutil.pid_exists(stranger.pid)


async def test_a_worker_that_ends_at_once_is_a_failed_start(placer, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeStartFailed, match="ended with code 1"):
        await placer.launch("rt_1", SLOT)


async def test_a_worker_that_never_serves_is_ended(tmp_path, monkeypatch):
    placer = LocalPlacer(tmp_path, environment={}, launch_seconds=0.2, stop_seconds=1)
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    before = set(psutil.Process().children())
    with pytest.raises(RuntimeStartFailed, match="did not serve in time"):
        await placer.launch("rt_1", SLOT)
    new = set(psutil.Process().children()) - before
    psutil.wait_procs(list(new), timeout=5)
    assert not [process for process in new if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
