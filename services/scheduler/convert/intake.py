"""Checked bodies as other services see them."""

from forge.scheduler.v1 import intake_service_pb2

from services.chassis.wire import timestamp
from services.scheduler.usecases.intake import Order


def checked_to_proto(order: Order) -> intake_service_pb2.CheckedInput:
    """A body that a render could be made of."""
    checked = intake_service_pb2.CheckedInput(
        slug=order.slug,
        model_version=order.model_version,
        gpu_type=order.pin.gpu_type or "",
        region=order.pin.region or "",
        prefer=order.terms.prefer,
        max_cost_usd=order.terms.max_cost_usd,
        deadline=timestamp(order.terms.deadline),
        finish_within_seconds=order.terms.finish_within_seconds,
        warnings=order.warnings,
    )
    checked.input.update(order.shape)
    return checked
