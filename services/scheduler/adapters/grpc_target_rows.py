"""The performance tables of the catalogue over gRPC."""

from collections.abc import Sequence

from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import catalog_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.status import errors_of
from services.scheduler.convert.probes import row_from_proto
from services.scheduler.probe_ports import TargetRow

TIMEOUT_SECONDS = 10.0
MAX_PAGE_SIZE = 100


class GrpcTargetRows:
    """Asks the catalog service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = rpc.CatalogServiceStub(channel)

    async def all(self) -> Sequence[TargetRow]:
        """The rows of all versions. Raises ServiceUnavailable."""
        found: list[TargetRow] = []
        token = ""
        async with errors_of("the catalog"):
            while True:
                request = pb.ListModelsRequest(page_size=MAX_PAGE_SIZE, page_token=token)
                page = await self._stub.ListModels(request, timeout=TIMEOUT_SECONDS)
                for model in page.models:
                    for version in model.versions:
                        asked = pb.ListTargetsRequest(slug=model.slug, model_version=version.version)
                        table = await self._stub.ListTargets(asked, timeout=TIMEOUT_SECONDS)
                        found += [row_from_proto(table, row) for row in table.targets]
                if not (token := page.next_page_token):
                    return found
