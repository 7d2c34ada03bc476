"""Workers over gRPC."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import grpc
from forge.worker.v1 import worker_service_pb2 as pb
from forge.worker.v1 import worker_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.clients import channel_to
from services.chassis.errors import ForgeError
from services.chassis.identity import Caller
from services.chassis.status import to_error
from services.chassis.trust import Trust
from services.scheduler.convert import workers as convert
from services.scheduler.domain.errors import WorkerLost, WorkerOccupied
from services.scheduler.ports import Assignment, AttemptMoment, LoadMoment, Version, WorkerState

TIMEOUT_SECONDS = 5.0
WORKER = "inference-worker"
"""What workers are called in their certificates."""


class GrpcWorkers:
    """Calls workers; one channel a worker, kept open. Use it as an async context manager."""

    def __init__(self, caller: Caller, trust: Trust) -> None:
        self._caller = caller
        self._trust = trust
        self._channels: dict[str, aio.Channel] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "GrpcWorkers":
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def load(self, address: str, version: Version) -> AsyncGenerator[LoadMoment, None]:
        """Load a version."""
        stub = await self._stub(address)
        try:
            async for event in stub.Load(convert.load_to_proto(version)):
                yield convert.load_moment(event)
        except aio.AioRpcError as error:
            raise _meaning(error) from error

    async def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run or re-join an attempt."""
        stub = await self._stub(address)
        try:
            async for event in stub.Render(convert.assignment_to_proto(assignment, after_seq)):
                yield convert.attempt_moment(event)
        except aio.AioRpcError as error:
            raise _meaning(error) from error

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        """Ask for an attempt to stop."""
        stub = await self._stub(address)
        try:
            await stub.Cancel(pb.CancelRequest(render_id=render_id, epoch=epoch), timeout=TIMEOUT_SECONDS)
        except aio.AioRpcError as error:
            raise _meaning(error) from error

    async def state(self, address: str) -> WorkerState:
        """Ask what the worker is doing."""
        stub = await self._stub(address)
        try:
            return convert.worker_state(
                await stub.GetWorkerStatus(pb.GetWorkerStatusRequest(), timeout=TIMEOUT_SECONDS)
            )
        except aio.AioRpcError as error:
            raise _meaning(error) from error

    async def _stub(self, address: str) -> rpc.WorkerServiceStub:
        if address not in self._channels:
            opened = channel_to(address, self._caller, trust=self._trust, peer=WORKER)
            self._channels[address] = await self._stack.enter_async_context(opened)
        return rpc.WorkerServiceStub(self._channels[address])


def _meaning(error: aio.AioRpcError) -> ForgeError:
    """A worker that does not answer is lost; one that answers with an error means that error."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return WorkerLost()
    meaning = to_error(error, "the worker")
    return WorkerOccupied(meaning.message) if meaning.reason == WorkerOccupied.reason else meaning
