"""The gRPC edge of the catalogue: unpack, ask, pack. No rules live here."""

from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import catalog_service_pb2_grpc as rpc

from services.catalog.convert import measurements, performance
from services.catalog.convert import models as convert
from services.catalog.convert.snippets import snippets_to_proto
from services.catalog.usecases import Catalog
from services.catalog.usecases.performance import Performance
from services.catalog.usecases.snippets import SnippetBook
from services.chassis.server import Mount


class CatalogServicer(rpc.CatalogServiceServicer):
    """Answers CatalogService."""

    def __init__(self, catalog: Catalog, snippets: SnippetBook, performance: Performance) -> None:
        self._catalog = catalog
        self._snippets = snippets
        self._performance = performance

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

    async def GetSnippets(self, request, context):
        found = await self._snippets.snippets(
            request.slug,
            request.model_version,
            convert.pin_from_proto(request),
            kind=request.kind,
            base_url=request.base_url,
        )
        return snippets_to_proto(found)

    async def GetReliability(self, request, context):
        pin = convert.pin_from_proto(request)
        found = await self._performance.reliability(request.slug, request.model_version, pin)
        return performance.reliability_to_proto(found)

    async def ListTargets(self, request, context):
        found = await self._performance.compare(request.slug, request.model_version, request.baseline)
        return performance.comparison_to_proto(found)

    async def ListMeasurements(self, request, context):
        page = await self._performance.measurements(
            request.slug,
            request.model_version,
            convert.pin_from_proto(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return measurements.page_to_proto(page)


def mount(catalog: Catalog, snippets: SnippetBook | None = None, performance: Performance | None = None) -> Mount:
    """The service, ready to be added to a server. Beside those who only read models the others may be left out."""
    servicer = CatalogServicer(catalog, snippets, performance)  # pyright: ignore[reportArgumentType] — as it says above
    descriptor = pb.DESCRIPTOR.services_by_name["CatalogService"]
    return Mount(descriptor, rpc.add_CatalogServiceServicer_to_server, servicer)
