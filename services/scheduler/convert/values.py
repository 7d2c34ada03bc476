"""What more than one message holds."""

from forge.common.v1 import target_pb2

from services.scheduler.domain.fleet import Target


def usd(microdollars: int | None) -> float | None:
    """An amount of a bill in dollars; None for none."""
    return None if microdollars is None else microdollars / 1e6


def target_to_proto(target: Target | None) -> target_pb2.Target | None:
    """A target; None for none."""
    if target is None:
        return None
    return target_pb2.Target(gpu_type=target.gpu_type, region=target.region, simulated=target.simulated)
