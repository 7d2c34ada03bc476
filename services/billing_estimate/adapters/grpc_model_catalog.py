"""Figures of versions, asked from the catalogue over gRPC."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from grpc import aio

from services.billing_estimate import convert
from services.billing_estimate.domain import VersionFigures
from services.chassis.status import errors_of


class GrpcModelCatalog:
    """Asks the catalogue behind `channel`.

    Each answer may take `deadline_seconds`; a catalogue that is just starting is waited for as long.
    """

    def __init__(self, channel: aio.Channel, *, deadline_seconds: float) -> None:
        self._catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        self._deadline_seconds = deadline_seconds

    async def figures(self, slug: str, version: str) -> VersionFigures:
        """Figures of a version. The catalogue's own errors; ServiceUnavailable."""
        async with errors_of("catalog"):
            inputs = await self._catalog.GetInputSchema(
                catalog_service_pb2.GetInputSchemaRequest(slug=slug, model_version=version),
                timeout=self._deadline_seconds,
                wait_for_ready=True,
            )
            model = await self._catalog.GetModel(
                catalog_service_pb2.GetModelRequest(slug=slug), timeout=self._deadline_seconds, wait_for_ready=True
            )
        return convert.figures_from_proto(model, inputs)
