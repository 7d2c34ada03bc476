"""Workers as real processes."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.chassis.config import REPOSITORY
from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.domain.fleet import Slot, Target
from services.scheduler.ports import WorkerProcess

SLOT = Slot("slot-0", Target("CPU", "local"), "cpu")
PATIENCE_SECONDS = 30


@pytest.fixture
async def a_placer(tmp_path: Path):
    """Placers that share one home; no worker outlives the test."""
    placers: list[LocalPlacer] = []
    async with AsyncExitStack() as stack:

        async def a_placer(spares: int = 0, **changes: float) -> LocalPlacer:
            settings = {"launch_seconds": PATIENCE_SECONDS, "stop_seconds": 10, **changes}
            environment = {"FORGE_HOME": str(tmp_path), "FORGE_WEIGHTS": "random", "FORGE_PLAINTEXT": "true"}
            placer = LocalPlacer(tmp_path, environment=environment, spares=spares, **settings)
            placers.append(await stack.enter_async_context(placer))
            return placer

        yield a_placer
        left = [(file.stem, json.loads(file.read_text())) for file in (tmp_path / "run").glob("rt_*.json")]
        for placer in placers:
            for runtime_id, told in left:
                await placer.terminate(runtime_id, WorkerProcess(told["address"], told["pid"]))


@pytest.fixture
async def placer(a_placer) -> LocalPlacer:
    return await a_placer()


@pytest.fixture
def program(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Lets a shell script stand for Python; `$PYTHON` is the real one."""

    def program(script: str) -> None:
        file = tmp_path / "program"
        file.write_text(f"#!/bin/sh\nPYTHON={sys.executable}\n{script}\n")
        file.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(file))

    return program


def is_running(pid: int | None) -> bool:
    assert pid is not None
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_worker_knows_neither_where_services_keep_their_tables_nor_the_token_of_a_cluster(
    a_placer, monkeypatch
):
    monkeypatch.setenv("FORGE_DATABASE_URL", "postgresql://forge:canary@db/forge")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary")
    placer = await a_placer()
    process = await placer.launch("rt_1", SLOT)
    environment = psutil.Process(process.pid).environ()
    assert "PATH" in environment
    assert "FORGE_DATABASE_URL" not in environment
    assert "RAY_AUTH_TOKEN" not in environment
    await placer.terminate("rt_1", process)


async def test_a_worker_lives_from_its_launch_to_its_end(placer, tmp_path):
    process = await placer.launch("rt_1", SLOT)
    assert await placer.is_alive("rt_1", process)
    assert psutil.Process(process.pid).environ()["FORGE_WORKER_DEVICE"] == "cpu"
    await placer.terminate("rt_1", process)
    assert not is_running(process.pid)
    assert not await placer.is_alive("rt_1", process)
    assert not list((tmp_path / "run").glob("rt_1*"))


async def test_a_placer_that_comes_later_knows_the_worker(placer, a_placer):
    process = await placer.launch("rt_1", SLOT)
    later = await a_placer()
    assert await later.is_alive("rt_1", process)
    assert not await later.is_alive("rt_2", process)
    for either in (later, placer):
        await either.terminate("rt_1", process)
        assert not is_running(process.pid)


async def test_a_killed_worker_is_not_alive_and_can_still_be_ended(placer, tmp_path):
    process = await placer.launch("rt_1", SLOT)
    psutil.Process(process.pid).kill()
    await eventually(lambda: not is_running(process.pid))
    assert not await placer.is_alive("rt_1", process)
    await placer.terminate("rt_1", process)
    assert not list((tmp_path / "run").glob("rt_1*"))


@pytest.mark.parametrize("has_file", [False, True])
async def test_a_pid_that_now_belongs_to_somebody_else_is_not_the_worker(placer, tmp_path, has_file):
    stranger = WorkerProcess("127.0.0.1:1", psutil.Process().pid)
    if has_file:
        (tmp_path / "run").mkdir()
        left_behind = {"worker_id": "rt_1", "pid": stranger.pid, "address": stranger.address}
        (tmp_path / "run" / "rt_1.json").write_text(json.dumps(left_behind))
    assert not await placer.is_alive("rt_1", stranger)
    await placer.terminate("rt_1", stranger)
    assert is_running(stranger.pid)


async def test_a_worker_that_ends_at_once_is_a_failed_start(placer, program):
    program("exit 1")
    with pytest.raises(RuntimeStartFailed, match="ended with code 1"):
        await placer.launch("rt_1", SLOT)


async def test_a_worker_that_never_serves_is_ended(a_placer, program):
    placer = await a_placer(launch_seconds=0.2, stop_seconds=1)
    program("exec sleep 60")
    before = psutil.Process().children()
    with pytest.raises(RuntimeStartFailed, match="did not serve in time"):
        await placer.launch("rt_1", SLOT)
    assert psutil.Process().children() == before


async def test_a_spare_becomes_the_worker_and_another_takes_its_place(a_placer):
    placer = await a_placer(spares=1)
    [spare] = placer.spares.pids
    process = await placer.launch("rt_1", SLOT)
    assert process.pid == spare
    assert await placer.is_alive("rt_1", process)
    [other] = placer.spares.pids
    assert other != spare
    await placer.terminate("rt_1", process)
    assert not is_running(process.pid)
    assert is_running(other)


async def test_a_worker_that_was_a_spare_outlives_its_placer_and_is_known_to_the_next(a_placer):
    first = await a_placer(spares=1)
    process = await first.launch("rt_1", SLOT)
    await first.__aexit__()
    next_one = await a_placer()
    assert await next_one.is_alive("rt_1", process)
    for either in (next_one, first):
        await either.terminate("rt_1", process)
        assert not is_running(process.pid)


async def test_no_spare_outlives_its_placer(tmp_path):
    async with LocalPlacer(tmp_path, environment={}, launch_seconds=30, stop_seconds=10, spares=2) as placer:
        spares = placer.spares.pids
        assert len(spares) == 2
    assert not any(is_running(pid) for pid in spares)


KEEP_A_SPARE = """
import asyncio, sys
from pathlib import Path
from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.domain.fleet import Slot, Target

async def main():
    home = Path(sys.argv[1])
    environment = {"FORGE_HOME": str(home), "FORGE_WEIGHTS": "random", "FORGE_PLAINTEXT": "true"}
    async with LocalPlacer(home, environment=environment, launch_seconds=30, stop_seconds=10, spares=1) as placer:
        worker = await placer.launch("rt_1", Slot("slot-0", Target("CPU", "local"), "cpu"))
        print(worker.address, worker.pid, *placer.spares.pids, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_spare_ends_with_a_scheduler_that_is_killed_and_workers_go_on(placer, tmp_path):
    scheduler = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEP_A_SPARE, str(tmp_path), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert scheduler.stdout
    address, worker_pid, spare_pid = (await scheduler.stdout.readline()).decode().split()
    assert is_running(int(spare_pid))
    scheduler.kill()
    await scheduler.wait()
    await eventually(lambda: not is_running(int(spare_pid)))
    worker = WorkerProcess(address, int(worker_pid))
    assert await placer.is_alive("rt_1", worker)
    await placer.terminate("rt_1", worker)
    assert not is_running(worker.pid)


async def test_a_spare_that_died_costs_a_launch_only_its_head_start(a_placer):
    placer = await a_placer(spares=1)
    [spare] = placer.spares.pids
    psutil.Process(spare).kill()
    await eventually(lambda: not is_running(spare))
    process = await placer.launch("rt_1", SLOT)
    assert process.pid != spare
    assert await placer.is_alive("rt_1", process)


async def test_a_spare_that_ends_when_it_is_told_costs_a_launch_only_its_head_start(a_placer, program):
    program('case "$*" in *--waiting) read line; exit 1;; esac\nexec $PYTHON "$@"')
    placer = await a_placer(spares=1)
    [spare] = placer.spares.pids
    process = await placer.launch("rt_1", SLOT)
    assert process.pid != spare
    assert not is_running(spare)
    assert await placer.is_alive("rt_1", process)


async def test_no_spare_is_started_while_somebody_waits_for_a_worker(a_placer, tmp_path, program):
    gate = f"{tmp_path}/gate-$FORGE_WORKER_ID"
    program(
        f'case "$*" in *--waiting) exit 1;; *) while [ ! -e {gate} ]; do sleep 0.02; done;; esac\nexec $PYTHON "$@"'
    )
    placer = await a_placer(spares=1)
    [spare] = placer.spares.pids
    await eventually(lambda: not is_running(spare))
    first, second = (asyncio.create_task(placer.launch(runtime_id, SLOT)) for runtime_id in ("rt_1", "rt_2"))
    (tmp_path / "gate-rt_1").touch()
    await first
    assert placer.spares.pids == []
    (tmp_path / "gate-rt_2").touch()
    await second
    assert len(placer.spares.pids) == 1


@pytest.fixture
def held_starts(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Whether a process is about to be started, and whether it may be: while that is not set it waits."""
    asked, allowed = threading.Event(), threading.Event()
    allowed.set()
    start = subprocess.Popen

    def held(*args: Any, **more: Any) -> Any:
        asked.set()
        allowed.wait(PATIENCE_SECONDS)
        return start(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", held)
    return asked, allowed


async def test_a_launch_that_is_given_up_while_its_process_starts_leaves_none(placer, program, held_starts):
    program("exec sleep 60")
    before = psutil.Process().children()
    asked, allowed = held_starts
    allowed.clear()
    launch = asyncio.create_task(placer.launch("rt_1", SLOT))
    await eventually(asked.is_set)
    launch.cancel()
    allowed.set()
    with pytest.raises(asyncio.CancelledError):
        await launch
    assert psutil.Process().children() == before


async def test_a_launch_that_is_given_up_while_the_next_spare_starts_leaves_only_that(
    a_placer, program, held_starts, tmp_path
):
    file = tmp_path / "run" / "rt_1.json"
    program(f"""read line; echo '{{"address": "here"}}' > {file}; exec sleep 60""")
    placer = await a_placer(spares=1)
    [spare] = placer.spares.pids
    asked, allowed = held_starts
    asked.clear()
    allowed.clear()
    launch = asyncio.create_task(placer.launch("rt_1", SLOT))
    await eventually(asked.is_set)  # the spare serves, and another takes its place
    launch.cancel()
    allowed.set()
    with pytest.raises(asyncio.CancelledError):
        await launch
    assert not is_running(spare)
    assert not file.exists()
    [other] = placer.spares.pids
    assert is_running(other)


async def test_no_spares_are_kept_unless_they_are_wanted(placer):
    assert placer.spares.pids == []
    await placer.launch("rt_1", SLOT)
    assert placer.spares.pids == []
