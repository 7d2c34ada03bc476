"""What the catalogue and the scheduler tell of an input."""

from forge.catalog.v1 import ledger_service_pb2, model_pb2
from forge.scheduler.v1 import intake_service_pb2

from services.billing_estimate.domain.basis import CostBasis, Figure, History, Sample, WorkPart
from services.billing_estimate.domain.estimates import Prefer, Wishes
from services.billing_estimate.domain.targets import Pin, Target
from services.billing_estimate.ports import CheckedInput
from services.chassis.wire import body, moment, present


def basis_from_proto(message: ledger_service_pb2.CostBasis) -> CostBasis:
    """What an estimate rests on."""
    return CostBasis(
        slug=message.slug,
        version=message.model_version,
        parts=tuple(WorkPart(part.phase, part.amount, part.share) for part in message.work),
        memory=message.memory,
        output_seconds=present(message, "output_seconds"),
        histories=tuple(_history(history) for history in message.targets),
    )


def checked_from_proto(message: intake_service_pb2.CheckedInput) -> CheckedInput:
    """A body that a render could be made of."""
    return CheckedInput(
        slug=message.slug,
        version=message.model_version,
        inputs=body(message.input),
        pin=Pin(message.gpu_type or None, message.region or None),
        wishes=Wishes(
            prefer=Prefer(message.prefer or Prefer.CHEAPEST),
            max_cost_usd=present(message, "max_cost_usd"),
            finish_within_seconds=present(message, "finish_within_seconds"),
        ),
        deadline=moment(message.deadline) if message.HasField("deadline") else None,
        warnings=tuple(message.warnings),
    )


def _history(message: ledger_service_pb2.TargetHistory) -> History:
    return History(
        target=Target(message.gpu_type, message.region),
        simulated=message.simulated,
        offered=message.offered,
        samples=tuple(_sample(sample) for sample in message.samples),
        cold_start_ms=tuple(message.cold_start_ms),
        published=tuple(_figure(figure) for figure in message.published),
    )


def _sample(message: ledger_service_pb2.CostSample) -> Sample:
    return Sample(
        amounts=tuple(message.amounts),
        memory=message.memory,
        phase_ms=dict(message.phase_ms),
        run_ms=message.run_ms,
        peak_allocated_bytes=present(message, "peak_allocated_bytes"),
        peak_reserved_bytes=present(message, "peak_reserved_bytes"),
    )


def _figure(message: model_pb2.PublishedFigure) -> Figure:
    return Figure(
        model_ms=present(message, "model_ms"),
        cold_start_ms=present(message, "cold_start_ms"),
        sample_count=present(message, "sample_count"),
    )
