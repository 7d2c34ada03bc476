"""What estimates rest on, between messages and nouns."""

from collections.abc import Mapping
from typing import Any

from forge.catalog.v1 import ledger_service_pb2

from services.catalog.convert.measurements import inputs_from_proto
from services.catalog.convert.models import figure_to_proto
from services.catalog.usecases.ledger import CostBasis, CostSample, TargetHistory
from services.chassis.wire import timestamp


def input_from_proto(request: ledger_service_pb2.GetCostBasisRequest) -> Mapping[str, Any] | None:
    """The inputs; None for those of the example."""
    return inputs_from_proto(request.input) if request.HasField("input") else None


def cost_basis_to_proto(basis: CostBasis) -> ledger_service_pb2.CostBasis:
    """What an estimate rests on."""
    return ledger_service_pb2.CostBasis(
        slug=basis.slug,
        model_version=basis.model_version,
        vram_floor_gib=basis.vram_floor_gib,
        work=[
            ledger_service_pb2.WorkPart(phase=part.phase, amount=amount, share=part.share)
            for part, amount in zip(basis.parts, basis.amounts.parts, strict=True)
        ],
        memory=basis.amounts.memory,
        output_seconds=basis.amounts.output_seconds,
        targets=[_history_to_proto(target) for target in basis.targets],
    )


def _history_to_proto(history: TargetHistory) -> ledger_service_pb2.TargetHistory:
    spot = history.target.spot
    return ledger_service_pb2.TargetHistory(
        gpu_type=spot.gpu_type,
        region=spot.region,
        simulated=spot.simulated,
        offered=history.target.offer is not None,
        samples=[_sample_to_proto(sample) for sample in history.samples],
        cold_start_ms=history.cold_starts_ms,
        published=[figure_to_proto(figure) for figure in history.target.published],
    )


def _sample_to_proto(sample: CostSample) -> ledger_service_pb2.CostSample:
    return ledger_service_pb2.CostSample(
        measured_at=timestamp(sample.run.measured_at),
        amounts=sample.amounts.parts,
        memory=sample.amounts.memory,
        phase_ms=sample.run.phase_ms,
        run_ms=sample.run_ms,
        peak_allocated_bytes=sample.run.peak_allocated_bytes,
        peak_reserved_bytes=sample.run.peak_reserved_bytes,
    )
