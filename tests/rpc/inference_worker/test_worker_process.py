"""Real worker processes with real engines on random weights."""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from forge.worker.v1 import worker_service_pb2 as pb
from forge.worker.v1 import worker_service_pb2_grpc as rpc

from services.chassis.clients import channel_to
from services.chassis.config import REPOSITORY
from services.chassis.identity import service_caller
from tests.rpc.inference_worker.asking import SMALL, load, render

LARGE = {**SMALL, "width": 512, "height": 512, "num_frames": 25, "num_inference_steps": 100}


@pytest.mark.slow
async def test_a_worker_serves_before_it_imports_torch_renders_and_comes_clean_out_of_a_cancel(
    start_process, load_request, render_request, tmp_path
):
    one, other = await start_process("worker-1"), await start_process("worker-2")
    assert one.announced["worker_id"] == "worker-1"
    assert one.announced["pid"] == one.process.pid
    assert not one.has_mapped("libtorch")
    status = await one.stub.GetWorkerStatus(pb.GetWorkerStatusRequest())
    assert status.state == "empty"

    events, _ = await asyncio.gather(load(one, load_request()), load(other, load_request()))
    phases = list(dict.fromkeys(event.phase for event in events))
    assert phases[0] == "imports"
    assert phases[-3:] == ["weights", "warm_up", "ready"]
    assert one.has_mapped("libtorch")

    fresh = (await render(one, render_request("r1", **SMALL))).output
    video = (tmp_path / "objects" / fresh.key).read_bytes()
    assert len(video) == fresh.size_bytes
    with av.open(io.BytesIO(video), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
        assert container.streams.video[0].average_rate == 7
    assert any("aspect ratio" in warning for warning in fresh.warnings)

    events, told = [], False
    async for event in other.stub.Render(render_request("r2", **LARGE)):
        events.append(event)
        if event.done_steps == 1 and not told:
            told = True
            began = time.monotonic()
            assert (await other.stub.GetWorkerStatus(pb.GetWorkerStatusRequest())).render_id == "r2"
            assert time.monotonic() - began < 2  # the loop answers while the device works
            await other.stub.Cancel(pb.CancelRequest(render_id="r2", epoch=1))
    last = events[-1]
    assert last.HasField("canceled")
    assert last.done_steps < 10
    assert (await render(other, render_request("r3", **SMALL))).output.sha256 == fresh.sha256

    refused = await render(one, render_request("r4", **{**SMALL, "image": "data:image/png;base64,AAAA", "width": 63}))
    assert refused.failure.reason == "INVALID_INPUT"
    assert "AAAA" not in refused.failure.message


async def test_a_worker_that_nobody_calls_ends_itself(start_process):
    process = await start_process("lonely", FORGE_WORKER_ORPHAN_TIMEOUT_SECONDS="0.3")
    assert await process.ended() == 0


async def test_an_idle_worker_ends_at_once_when_told_to(start_process):
    process = await start_process("idle")
    process.process.send_signal(signal.SIGTERM)
    assert await process.ended() == 0


async def test_a_worker_without_weights_stays_up_and_says_what_it_looked_for(start_process, load_request, tmp_path):
    process = await start_process("poor", FORGE_WEIGHTS=str(tmp_path / "nothing"))
    last = [event async for event in process.stub.Load(load_request())][-1]
    assert (last.phase, last.failure.reason) == ("failed", "WEIGHTS_UNAVAILABLE")
    assert "svd/v1" in last.failure.message
    assert str(REPOSITORY) not in last.failure.message
    assert str(tmp_path) not in last.failure.message
    assert (await process.stub.GetWorkerStatus(pb.GetWorkerStatusRequest())).state == "failed"


@dataclass
class Waiting:
    """A worker process that waits to be told who it is."""

    process: asyncio.subprocess.Process
    address_file: Path

    async def tell(self, content: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(content)
        await self.process.stdin.drain()
        self.process.stdin.close()

    async def become(self, **environment: str) -> dict[str, Any]:
        """What it announces once it is the worker of this environment."""
        await self.tell(
            json.dumps({"FORGE_WORKER_ADDRESS_FILE": str(self.address_file), **environment}).encode() + b"\n"
        )
        await self.until(self.address_file.exists)
        return json.loads(self.address_file.read_text())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                assert self.process.returncode is None
                await asyncio.sleep(0.02)

    def has_mapped(self, library: str) -> bool:
        return library in Path(f"/proc/{self.process.pid}/maps").read_text()

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


@pytest.fixture
async def start_waiting(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Waiting]]]:
    """Starts workers that wait; none outlives the test."""
    async with AsyncExitStack() as stack:

        async def start(**environment: str) -> Waiting:
            settings = {"FORGE_HOME": str(tmp_path), "FORGE_WEIGHTS": "random", "FORGE_PLAINTEXT": "true"}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.inference_worker",
                "--waiting",
                cwd=REPOSITORY,
                env=os.environ | settings | environment,
                stdin=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )

            async def end() -> None:
                if process.returncode is None:
                    process.kill()
                await process.wait()

            stack.push_async_callback(end)
            return Waiting(process, tmp_path / "run" / "worker.json")

        yield start


@pytest.mark.slow
async def test_a_waiting_worker_imports_holds_no_port_and_becomes_the_worker_it_is_told_to_be(
    start_waiting, load_request
):
    waiting = await start_waiting()
    await waiting.until(lambda: waiting.has_mapped("libtorch"))
    assert psutil.Process(waiting.process.pid).net_connections() == []
    announced = await waiting.become(FORGE_WORKER_ID="worker-7", FORGE_WORKER_THREADS="1")
    assert (announced["worker_id"], announced["pid"]) == ("worker-7", waiting.process.pid)
    async with channel_to(announced["address"], service_caller("scheduler")) as channel:
        stub = rpc.WorkerServiceStub(channel)
        assert (await stub.GetWorkerStatus(pb.GetWorkerStatusRequest())).worker_id == "worker-7"
        assert [event async for event in stub.Load(load_request())][-1].phase == "ready"
    waiting.process.send_signal(signal.SIGTERM)
    assert await waiting.ended() == 0


async def test_a_waiting_worker_that_is_told_before_it_has_imported_serves_at_once(start_waiting):
    waiting = await start_waiting()
    announced = await waiting.become(FORGE_WORKER_ID="worker-7")
    async with channel_to(announced["address"], service_caller("scheduler")) as channel:
        status = await rpc.WorkerServiceStub(channel).GetWorkerStatus(pb.GetWorkerStatusRequest())
    assert (status.worker_id, status.state) == ("worker-7", "empty")


@pytest.mark.parametrize("last_words", [b"", b'{"FORGE_WORKER_ID": "wor'])
async def test_a_waiting_worker_ends_when_whoever_started_it_is_gone(start_waiting, last_words):
    waiting = await start_waiting()
    await waiting.tell(last_words)
    assert await waiting.ended() == 0
    assert not waiting.address_file.exists()


async def test_a_waiting_worker_ends_when_told_to(start_waiting):
    waiting = await start_waiting()
    await waiting.until(lambda: waiting.has_mapped("libtorch"))
    waiting.process.send_signal(signal.SIGTERM)
    assert await waiting.ended() == -signal.SIGTERM


async def test_a_waiting_worker_does_not_become_one_whose_weights_come_from_where_it_did_not_expect(start_waiting):
    waiting = await start_waiting(FORGE_WEIGHTS="")
    await waiting.tell(b'{"FORGE_WORKER_DEVICE": "cuda:0"}\n')
    assert await waiting.ended() == 1
