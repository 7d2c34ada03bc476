"""Models, their inputs and routes, between messages and nouns."""

from collections.abc import Mapping
from typing import Any

from forge.catalog.v1 import catalog_service_pb2, model_pb2
from forge.scheduler.v1 import runtime_service_pb2
from google.protobuf.struct_pb2 import Struct

from services.catalog import domain
from services.catalog.domain import (
    InferenceRoute,
    InferenceRoutes,
    InputSchema,
    Model,
    ModelVersion,
    Pin,
    PublishedFigure,
    RouteTarget,
    Search,
)
from services.catalog.usecases import Page


def search_from_proto(request: catalog_service_pb2.ListModelsRequest) -> Search:
    """What a list request looks for."""
    return Search(query=request.query, modality=request.modality, tag=request.tag)


def page_to_proto(page: Page) -> catalog_service_pb2.ListModelsResponse:
    """A page of models."""
    return catalog_service_pb2.ListModelsResponse(
        models=[model_to_proto(model) for model in page.models],
        next_page_token=page.next_page_token,
        total_size=page.total_size,
    )


def model_to_proto(model: Model) -> model_pb2.Model:
    """A whole model."""
    return model_pb2.Model(
        slug=model.slug,
        title=model.title,
        description=model.description,
        license=model_pb2.License(id=model.license.id, url=model.license.url),
        category=model.category,
        runtime_kind=model.runtime_kind,
        input_modalities=model.input_modalities,
        output_modalities=model.output_modalities,
        tags=model.tags,
        date_added=model.date_added.isoformat(),
        links=[model_pb2.Link(kind=link.kind, title=link.title, url=link.url) for link in model.links],
        versions=[_version_to_proto(model.slug, version) for version in model.versions],
        default_version=model.default_version,
    )


def inputs_to_proto(slug: str, version: str, inputs: InputSchema) -> model_pb2.InputSchema:
    """The inputs of a version."""
    return model_pb2.InputSchema(
        slug=slug, model_version=version, schema=struct_of(inputs.schema), example=struct_of(inputs.example)
    )


def pin_from_proto(
    request: catalog_service_pb2.GetInferenceRoutesRequest
    | catalog_service_pb2.GetReliabilityRequest
    | catalog_service_pb2.ListMeasurementsRequest
    | catalog_service_pb2.GetSnippetsRequest,
) -> Pin:
    """The target a selection is pinned to."""
    return Pin(gpu_type=request.gpu_type or None, region=request.region or None)


def routes_to_proto(routes: InferenceRoutes) -> catalog_service_pb2.InferenceRoutes:
    """How and where a selection runs."""
    return catalog_service_pb2.InferenceRoutes(
        slug=routes.slug,
        model_version=routes.model_version,
        route=_route_to_proto(routes.route),
        gpu_type=routes.pin.gpu_type,
        region=routes.pin.region,
        targets=[
            catalog_service_pb2.RouteTarget(
                gpu_type=target.gpu_type,
                region=target.region,
                simulated=target.simulated,
                total_slots=target.total_slots,
                free_slots=target.free_slots,
            )
            for target in routes.targets
        ],
    )


def targets_from_proto(response: runtime_service_pb2.GetCapacityResponse) -> tuple[RouteTarget, ...]:
    """The targets of the scheduler's fleet."""
    return tuple(
        RouteTarget(
            gpu_type=target.gpu_type,
            region=target.region,
            simulated=target.simulated,
            total_slots=target.total_slots,
            free_slots=target.free_slots,
        )
        for target in response.targets
    )


def _version_to_proto(slug: str, version: ModelVersion) -> model_pb2.ModelVersion:
    return model_pb2.ModelVersion(
        version=version.version,
        title=version.title,
        pipeline=version.pipeline,
        weights_repository=version.weights_repository,
        weights_revision=version.weights_revision,
        weights_dtype=version.weights_dtype,
        parameters_billions=version.parameters_billions,
        context_window_tokens=version.context_window_tokens,
        vram_floor_gib=version.vram_floor_gib,
        vram_floor_source=version.vram_floor_source,
        max_run_seconds=version.max_run_seconds,
        published_figures=[figure_to_proto(figure) for figure in version.published_figures],
        route=_route_to_proto(domain.route_of(slug, version.version)),
        probe_inputs=[struct_of(inputs) for inputs in version.probe_inputs],
    )


def figure_to_proto(figure: PublishedFigure) -> model_pb2.PublishedFigure:
    """A row of somebody else's table."""
    return model_pb2.PublishedFigure(
        gpu_type=figure.gpu_type,
        region=figure.region or "",
        status=figure.status,
        model_ms=figure.model_ms,
        cold_start_ms=figure.cold_start_ms,
        vram_gb=figure.vram_gb,
        sample_count=figure.sample_count,
        source=figure.source,
    )


def _route_to_proto(route: InferenceRoute) -> model_pb2.InferenceRoute:
    return model_pb2.InferenceRoute(
        path=route.path,
        method=route.method,
        model=route.model,
        model_version=route.model_version,
        async_path=route.async_path,
        rpc=route.rpc,
    )


def struct_of(mapping: Mapping[str, Any]) -> Struct:
    """As a Struct, which keeps numbers as doubles; the catalogue loads no integer a double cannot hold."""
    struct = Struct()
    struct.update(mapping)
    return struct
