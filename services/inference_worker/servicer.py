"""The gRPC edge of the worker: unpack, ask, pack."""

from contextlib import aclosing

from forge.worker.v1 import worker_service_pb2 as pb
from forge.worker.v1 import worker_service_pb2_grpc as rpc

from services.chassis.server import Mount
from services.inference_worker import convert
from services.inference_worker.usecases.worker import InferenceWorker


class WorkerServicer(rpc.WorkerServiceServicer):
    """Serves one worker."""

    def __init__(self, worker: InferenceWorker) -> None:
        self._worker = worker

    async def Load(self, request, context):
        async with aclosing(self._worker.load(convert.version(request))) as events:
            async for event in events:
                yield convert.start_event_to_proto(event)

    async def Render(self, request, context):
        async with aclosing(self._worker.render(convert.assignment(request), request.after_seq)) as events:
            async for event in events:
                yield convert.attempt_event_to_proto(event)

    async def Cancel(self, request, context):
        await self._worker.cancel(convert.attempt_id(request))
        return pb.CancelResponse()

    async def GetWorkerStatus(self, request, context):
        return convert.status_to_proto(await self._worker.status())


def mount(worker: InferenceWorker) -> Mount:
    """How to serve `worker`."""
    return Mount(
        pb.DESCRIPTOR.services_by_name["WorkerService"],
        rpc.add_WorkerServiceServicer_to_server,
        WorkerServicer(worker),
    )
