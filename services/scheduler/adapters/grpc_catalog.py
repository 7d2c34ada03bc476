"""The catalogue over gRPC, remembered for a while so that it may be away for a while."""

from collections.abc import Sequence

from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import catalog_service_pb2_grpc as rpc
from forge.catalog.v1 import model_pb2
from grpc import aio

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Kind, ServiceUnavailable
from services.chassis.status import errors_of
from services.scheduler.convert.catalog import version_from_proto
from services.scheduler.ports import Version

FRESH_SECONDS = 30.0
TIMEOUT_SECONDS = 5.0
MAX_PAGE_SIZE = 100


class VersionNotFound(ForgeError):
    """The model has no such version."""

    kind = Kind.NOT_FOUND
    reason = "VERSION_NOT_FOUND"


class GrpcCatalog:
    """Reads versions from the catalog service. A stale answer is better than none while the service is away."""

    def __init__(self, channel: aio.Channel, clock: Clock) -> None:
        self._stub = rpc.CatalogServiceStub(channel)
        self._clock = clock
        self._known: dict[tuple[str, str | None], tuple[float, Version]] = {}

    async def version(self, slug: str, model_version: str | None) -> Version:
        """A version, the default one for None."""
        key = (slug, model_version)
        read_at, known = self._known.get(key, (float("-inf"), None))
        if known is not None and self._clock.monotonic() - read_at < FRESH_SECONDS:
            return known
        try:
            version = await self._read(slug, model_version)
        except ServiceUnavailable:
            if known is None:
                raise
            return known
        self._known[key] = (self._clock.monotonic(), version)
        return version

    async def _read(self, slug: str, model_version: str | None) -> Version:
        async with errors_of("the catalog"):
            request = pb.GetInputSchemaRequest(slug=slug, model_version=model_version or "")
            schema = await self._stub.GetInputSchema(request, timeout=TIMEOUT_SECONDS)
            models = await self._models()
        for version in (version for model in models if model.slug == slug for version in model.versions):
            if version.version == schema.model_version:
                return version_from_proto(slug, version, schema, models)
        raise VersionNotFound(f"model '{slug}' has no version '{schema.model_version}'")

    async def _models(self) -> Sequence[model_pb2.Model]:
        found: list[model_pb2.Model] = []
        token = ""
        while True:
            request = pb.ListModelsRequest(page_size=MAX_PAGE_SIZE, page_token=token)
            page = await self._stub.ListModels(request, timeout=TIMEOUT_SECONDS)
            found += page.models
            if not (token := page.next_page_token):
                return found
