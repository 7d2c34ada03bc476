"""The gRPC edge of probes: unpack, ask, pack."""

from forge.scheduler.v1 import probe_service_pb2_grpc

from services.scheduler.convert import probes as convert
from services.scheduler.convert import runtimes
from services.scheduler.usecases.probes import Probes


class ProbeServicer(probe_service_pb2_grpc.ProbeServiceServicer):
    """Probes of the installation."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    async def CreateProbes(self, request, context):
        pin = runtimes.pin(request.gpu_type, request.region)
        return convert.created_to_proto(
            await self._probes.create(request.slug, request.model_version, pin, request.runs)
        )

    async def GetProbe(self, request, context):
        return convert.probe_to_proto(await self._probes.get(request.probe_id))

    async def ListProbes(self, request, context):
        page = await self._probes.page(
            slug=request.slug,
            status=request.status,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.page_to_proto(page)

    async def CancelProbe(self, request, context):
        return convert.probe_to_proto(await self._probes.cancel(request.probe_id))
