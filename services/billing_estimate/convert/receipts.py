"""Records of use, receipts and usage on the wire."""

import math

from forge.billing.v1 import billing_estimate_service_pb2, metering_service_pb2, receipt_pb2

from services.billing_estimate.convert.values import from_micro, microdollars
from services.billing_estimate.domain.receipts import MICRO, AttemptUse, Charge, PhaseCharge, Receipt, RenderUse
from services.billing_estimate.domain.targets import Target
from services.billing_estimate.domain.usage import Usage, UsageRow
from services.chassis.wire import moment, present, timestamp


def render_from_proto(request: metering_service_pb2.RecordUseRequest) -> RenderUse:
    """How a render stands."""
    return RenderUse(
        render_id=request.render_id,
        seq=request.seq,
        account=request.account,
        api_key_id=request.api_key_id,
        slug=request.slug,
        version=request.model_version,
        status=request.status,
        is_final=request.is_final,
        created_at=moment(request.created_at),
        ended_at=moment(request.ended_at) if request.HasField("ended_at") else None,
        estimated_gpu_seconds=present(request, "estimated_gpu_seconds"),
        estimated_gpu_seconds_p90=present(request, "estimated_gpu_seconds_p90"),
        estimated_cost_usd=present(request, "estimated_cost_usd"),
    )


def attempts_from_proto(request: metering_service_pb2.RecordUseRequest) -> list[AttemptUse]:
    """Its attempts that have ended."""
    return [
        AttemptUse(
            attempt=attempt.attempt,
            target=Target(attempt.target.gpu_type, attempt.target.region),
            simulated=attempt.target.simulated,
            started_at=moment(attempt.started_at),
            ended_at=moment(attempt.ended_at),
            outcome=attempt.outcome,
            phase_gpu_us={phase: _micro(seconds) for phase, seconds in attempt.phase_gpu_seconds.items()},
            cost_per_gpu_hour_usd=present(attempt, "cost_per_gpu_hour_usd"),
            resumed_steps=attempt.resumed_steps,
        )
        for attempt in request.attempts
    ]


def receipt_to_proto(receipt: Receipt) -> receipt_pb2.Receipt:
    """What a render took and cost."""
    render, outcome = receipt.render, receipt.outcome
    return receipt_pb2.Receipt(
        render_id=render.render_id,
        slug=render.slug,
        model_version=render.version,
        status=render.status,
        is_final=render.is_final,
        gpu_seconds=from_micro(receipt.gpu_us),
        cost_usd=from_micro(receipt.cost_micro_usd),
        phase_gpu_seconds={phase: from_micro(us) for phase, us in receipt.phase_gpu_us.items()},
        lines=[_line(charge, phase) for charge in receipt.charges for phase in charge.phases],
        estimated_gpu_seconds=render.estimated_gpu_seconds,
        estimated_gpu_seconds_p90=render.estimated_gpu_seconds_p90,
        estimated_cost_usd=microdollars(render.estimated_cost_usd),
        estimate_error=outcome.error if outcome else None,
        created_at=timestamp(render.created_at),
        ended_at=timestamp(render.ended_at),
    )


def usage_to_proto(usage: Usage) -> billing_estimate_service_pb2.Usage:
    """Use of an account."""
    return billing_estimate_service_pb2.Usage(
        since=usage.period.since.isoformat(),
        until=usage.period.until.isoformat(),
        rows=[_usage_row(row) for row in usage.rows],
        gpu_seconds=from_micro(usage.gpu_us),
        cost_usd=from_micro(usage.cost_micro_usd),
        renders=usage.renders,
    )


def _line(charge: Charge, phase: PhaseCharge) -> receipt_pb2.ReceiptLine:
    return receipt_pb2.ReceiptLine(
        attempt=charge.attempt,
        gpu_type=charge.target.gpu_type,
        region=charge.target.region,
        simulated=charge.simulated,
        phase=phase.phase,
        gpu_seconds=from_micro(phase.gpu_us),
        cost_per_gpu_hour_usd=charge.cost_per_gpu_hour_usd,
        cost_usd=from_micro(phase.cost_micro_usd),
        outcome=charge.outcome,
        ended_at=timestamp(charge.ended_at),
    )


def _usage_row(row: UsageRow) -> receipt_pb2.UsageRow:
    return receipt_pb2.UsageRow(
        day=row.day.isoformat(),
        slug=row.slug,
        model_version=row.version,
        api_key_id=row.api_key_id,
        renders=row.renders,
        attempts=row.attempts,
        gpu_seconds=from_micro(row.gpu_us),
        cost_usd=from_micro(row.cost_micro_usd),
    )


def _micro(seconds: float) -> int:
    """Whole microseconds; nothing for what is no time, so that one odd figure does not keep a render off the record."""
    return max(0, round(seconds * MICRO)) if math.isfinite(seconds) else 0
