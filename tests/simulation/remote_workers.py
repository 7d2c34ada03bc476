"""The port `Workers` over the simulated network, through the messages of the contract on both sides."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from forge.worker.v1 import worker_service_pb2 as pb

from services.chassis.errors import ForgeError, Kind
from services.scheduler.convert import workers as convert
from services.scheduler.domain.errors import WorkerLost, WorkerOccupied
from services.scheduler.ports import Assignment, AttemptMoment, LoadMoment, Version, WorkerState
from tests.simulation.machines import Machines, Worker
from tests.simulation.network import Network, NoAnswer

T = TypeVar("T")
TIMEOUT_SECONDS = 5.0


class RemoteWorkers:
    """Calls workers as the gRPC adapter does: what does not answer is lost."""

    def __init__(self, machines: Machines, network: Network) -> None:
        self._machines = machines
        self._network = network

    async def load(self, address: str, version: Version) -> AsyncGenerator[LoadMoment, None]:
        """Load a version."""
        request = convert.load_to_proto(version)
        async with aclosing(self._stream(address, "Load", lambda worker: worker.load(request))) as events:
            async for event in events:
                yield convert.load_moment(event)

    async def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run or re-join an attempt."""
        request = convert.assignment_to_proto(assignment, after_seq)
        what = f"Render {request.render_id} epoch {request.epoch} after {after_seq}"
        async with aclosing(self._stream(address, what, lambda worker: worker.render(request))) as events:
            async for event in events:
                yield convert.attempt_moment(event)

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        """Ask for an attempt to stop."""
        request = pb.CancelRequest(render_id=render_id, epoch=epoch)
        await self._unary(address, f"Cancel {render_id} epoch {epoch}", lambda worker: worker.cancel(request))

    async def state(self, address: str) -> WorkerState:
        """Ask what the worker is doing."""
        return convert.worker_state(await self._unary(address, "GetWorkerStatus", lambda worker: worker.status()))

    async def _stream(
        self, address: str, what: str, work: Callable[[Worker], AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        worker = self._machines.workers[address]
        callee = worker.process if worker.serves else None
        try:
            async with aclosing(self._network.stream(callee, f"{what} of {address}", lambda: work(worker))) as events:
                async for event in events:
                    yield event
        except NoAnswer as error:
            raise WorkerLost from error
        except ForgeError as error:
            raise _meaning(error) from error

    async def _unary(self, address: str, what: str, work: Callable[[Worker], Awaitable[T]]) -> T:
        worker = self._machines.workers[address]
        callee = worker.process if worker.serves else None
        try:
            return await self._network.unary(callee, f"{what} of {address}", lambda: work(worker), TIMEOUT_SECONDS)
        except NoAnswer as error:
            raise WorkerLost from error
        except ForgeError as error:
            raise _meaning(error) from error


def _meaning(error: ForgeError) -> ForgeError:
    """What the gRPC adapter makes of an error of the worker's."""
    if error.kind is Kind.UNAVAILABLE:
        return WorkerLost()
    if error.reason == WorkerOccupied.reason:
        return WorkerOccupied(error.message)
    return error
