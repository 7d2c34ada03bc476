"""Between the contract's messages and the nouns of estimates."""

from collections.abc import Iterable
from typing import overload

from forge.billing.v1 import billing_estimate_service_pb2, estimate_pb2
from forge.catalog.v1 import model_pb2

from services.billing_estimate.domain import Figure, Pin, Price, RunEstimate, TargetEstimate, VersionFigures


def pin_from_proto(request: billing_estimate_service_pb2.GetRunEstimateRequest) -> Pin:
    """The target a request is pinned to."""
    return Pin(gpu_type=request.gpu_type or None, region=request.region or None)


def figures_from_proto(model: model_pb2.Model, inputs: model_pb2.InputSchema) -> VersionFigures:
    """What a model's page and the inputs of one of its versions say about speed."""
    return VersionFigures(
        slug=inputs.slug,
        version=inputs.model_version,
        figures=tuple(
            Figure(
                gpu_type=figure.gpu_type,
                region=figure.region or None,
                request_ms=figure.model_ms if figure.HasField("model_ms") else None,
                cold_start_ms=figure.cold_start_ms if figure.HasField("cold_start_ms") else None,
                sample_count=figure.sample_count if figure.HasField("sample_count") else None,
            )
            for version in model.versions
            if version.version == inputs.model_version
            for figure in version.published_figures
        ),
        output_seconds=_output_seconds(inputs),
    )


def run_estimate_to_proto(estimate: RunEstimate) -> estimate_pb2.RunEstimate:
    """What a request would take and cost, per target."""
    return estimate_pb2.RunEstimate(
        slug=estimate.slug,
        model_version=estimate.version,
        gpu_type=estimate.pin.gpu_type,
        region=estimate.pin.region,
        estimated_warm_request_cost_usd=_microdollars(estimate.selected.warm_request_cost_usd),
        estimated_first_cold_request_cost_usd=_microdollars(estimate.selected.first_cold_request_cost_usd),
        selected_target=_target_to_proto(estimate.selected),
        targets=[_target_to_proto(target) for target in estimate.targets],
        fastest_target=_target_to_proto(estimate.fastest),
        lowest_cost_target=_target_to_proto(estimate.lowest_cost),
    )


def prices_to_proto(prices: Iterable[Price]) -> billing_estimate_service_pb2.ListPricesResponse:
    """The price book."""
    return billing_estimate_service_pb2.ListPricesResponse(
        prices=[
            estimate_pb2.Price(
                gpu_type=price.gpu_type,
                region=price.region,
                cost_per_gpu_hour_usd=price.cost_per_gpu_hour_usd,
                source=price.source,
            )
            for price in prices
        ]
    )


def _target_to_proto(target: TargetEstimate) -> estimate_pb2.TargetEstimate:
    return estimate_pb2.TargetEstimate(
        gpu_type=target.gpu_type,
        region=target.region,
        request_ms=target.request_ms,
        cold_start_ms=target.cold_start_ms,
        cost_per_gpu_hour_usd=target.cost_per_gpu_hour_usd,
        estimated_warm_request_cost_usd=_microdollars(target.warm_request_cost_usd),
        estimated_first_cold_request_cost_usd=_microdollars(target.first_cold_request_cost_usd),
        estimated_cost_per_output_second_usd=_microdollars(target.cost_per_output_second_usd),
        basis=target.basis,
        sample_count=target.sample_count,
    )


def _output_seconds(inputs: model_pb2.InputSchema) -> float | None:
    """Length of the example's video: its frames over its frame rate, each the schema's default where it gives none."""
    num_frames = _example_number(inputs, "num_frames")
    fps = _example_number(inputs, "fps")
    return num_frames / fps if num_frames and fps else None


def _example_number(inputs: model_pb2.InputSchema, name: str) -> float | None:
    if name in inputs.example.fields:
        return inputs.example.fields[name].number_value
    keywords = inputs.schema.fields["properties"].struct_value.fields[name].struct_value.fields
    return keywords["default"].number_value if "default" in keywords else None


@overload
def _microdollars(usd: float) -> float: ...
@overload
def _microdollars(usd: float | None) -> float | None: ...
def _microdollars(usd: float | None) -> float | None:
    """An amount without the dust of binary fractions: exact to a millionth of a dollar."""
    return None if usd is None else round(usd, 6)
