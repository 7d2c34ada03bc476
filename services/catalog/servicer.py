"""The gRPC edge of the catalogue: unpack, ask, pack. No rules live here."""

from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import catalog_service_pb2_grpc as rpc

from services.catalog import convert
from services.catalog.usecases import Catalog
from services.chassis.server import Mount


class CatalogServicer(rpc.CatalogServiceServicer):
    """Answers CatalogService."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def ListModels(self, request, context):
        search = convert.search_from_proto(request)
        page = self._catalog.search(search, page_size=request.page_size, page_token=request.page_token)
        return convert.page_to_proto(page)

    async def GetModel(self, request, context):
        return convert.model_to_proto(self._catalog.model(request.slug))

    async def GetInputSchema(self, request, context):
        version, inputs = self._catalog.inputs(request.slug, request.model_version)
        return convert.inputs_to_proto(request.slug, version, inputs)

    async def GetInferenceRoutes(self, request, context):
        routes = await self._catalog.routes(request.slug, request.model_version, convert.pin_from_proto(request))
        return convert.routes_to_proto(routes)


def mount(catalog: Catalog) -> Mount:
    """The service, ready to be added to a server."""
    descriptor = pb.DESCRIPTOR.services_by_name["CatalogService"]
    return Mount(descriptor, rpc.add_CatalogServiceServicer_to_server, CatalogServicer(catalog))
