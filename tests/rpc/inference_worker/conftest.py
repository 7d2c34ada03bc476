"""Workers behind real gRPC: one in this process that can be followed step by step, and real processes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forge.worker.v1 import worker_service_pb2 as pb
from forge.worker.v1 import worker_service_pb2_grpc as rpc
from google.protobuf.struct_pb2 import Struct
from obstore.store import MemoryStore

from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.config import REPOSITORY
from services.chassis.identity import service_caller
from services.chassis.server import serving
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.adapters.pillow_pictures import PillowPictures
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.adapters.scripted_engine import ScriptedEngine, ScriptedEngineLoader
from services.inference_worker.adapters.serial_thread import SerialThread
from services.inference_worker.servicer import mount
from services.inference_worker.usecases.worker import InferenceWorker

CALLER = service_caller("scheduler")
PATIENCE_SECONDS = 60


@dataclass
class Running:
    """A worker that serves, and its stub."""

    stub: rpc.WorkerServiceStub
    worker: InferenceWorker
    engine: ScriptedEngine
    objects: MemoryStore


@pytest.fixture
async def worker() -> AsyncIterator[Running]:
    engine, objects = ScriptedEngine(), MemoryStore()
    device, encoding = SerialThread("device"), SerialThread("encoding")
    async with AsyncExitStack() as stack:
        stack.callback(device.close)
        stack.callback(encoding.close)
        subject = InferenceWorker(
            "worker-1",
            loader=ScriptedEngineLoader(engine),
            encoder=PyAvVideoEncoder(),
            pictures=PillowPictures(),
            objects=ObstoreObjects(objects),
            device=device,
            encoding=encoding,
            clock=SystemClock(),
            checkpoint_seconds=5.0,
            storage_patience_seconds=0.0,
        )
        port = await stack.enter_async_context(serving("127.0.0.1:0", [mount(subject)], grace_seconds=0.5))
        stack.push_async_callback(subject.stop, 5)
        stack.callback(engine.allow, 1000)
        channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", CALLER))
        yield Running(rpc.WorkerServiceStub(channel), subject, engine, objects)


def _load_request(slug: str = "svd", **changes: str) -> pb.LoadRequest:
    facts = {
        "slug": slug,
        "model_version": "v1",
        "pipeline": "StableVideoDiffusionPipeline",
        "weights_repository": "makers/repository",
        "weights_revision": "0" * 40,
        "weights_dtype": "fp16",
    }
    return pb.LoadRequest(**{**facts, **changes})


@pytest.fixture(scope="session")
def load_request() -> Callable[..., pb.LoadRequest]:
    return _load_request


@pytest.fixture(scope="session")
def render_request() -> Callable[..., pb.RenderRequest]:
    def render_request(
        render_id: str = "r1",
        epoch: int = 1,
        after_seq: int = 0,
        checkpoint_key: str = "",
        pause_after_step: int = 0,
        **inputs: Any,
    ) -> pb.RenderRequest:
        struct = Struct()
        struct.update(inputs)
        return pb.RenderRequest(
            render_id=render_id,
            epoch=epoch,
            input=struct,
            output_key=f"renders/{render_id}/{epoch}/video.mp4",
            after_seq=after_seq,
            checkpoint_key=checkpoint_key,
            pause_after_step=pause_after_step,
        )

    return render_request


@dataclass
class Process:
    """A worker process that serves."""

    process: asyncio.subprocess.Process
    announced: dict[str, Any]
    stub: rpc.WorkerServiceStub

    def has_mapped(self, library: str) -> bool:
        return library in Path(f"/proc/{self.process.pid}/maps").read_text()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()


@pytest.fixture
async def start_process(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    """Starts workers that share one FORGE_HOME; none outlives the test."""
    async with AsyncExitStack() as stack:

        async def start(worker_id: str, **environment: str) -> Process:
            address_file = tmp_path / "run" / f"{worker_id}.json"
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.inference_worker",
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    "FORGE_HOME": str(tmp_path),
                    "FORGE_PLAINTEXT": "true",
                    "FORGE_WEIGHTS": "random",
                    "FORGE_WORKER_ID": worker_id,
                    "FORGE_WORKER_ADDRESS_FILE": str(address_file),
                    **environment,
                },
                stderr=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(_end, process)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not address_file.exists():
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
            announced = json.loads(address_file.read_text())
            channel = await stack.enter_async_context(channel_to(announced["address"], CALLER))
            return Process(process, announced, rpc.WorkerServiceStub(channel))

        yield start


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
