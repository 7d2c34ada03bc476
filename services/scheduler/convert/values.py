"""What more than one message holds."""

from datetime import datetime
from typing import Any

from forge.common.v1 import target_pb2
from google.protobuf import timestamp_pb2

from services.scheduler.domain.fleet import Target


def present(message: Any, field: str) -> Any:
    """The value of a field, None where it was left out."""
    return getattr(message, field) if message.HasField(field) else None


def timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A moment; None for none."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def usd(microdollars: int | None) -> float | None:
    """An amount of a bill in dollars; None for none."""
    return None if microdollars is None else microdollars / 1e6


def target_to_proto(target: Target | None) -> target_pb2.Target | None:
    """A target; None for none."""
    if target is None:
        return None
    return target_pb2.Target(gpu_type=target.gpu_type, region=target.region, simulated=target.simulated)
