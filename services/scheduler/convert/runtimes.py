"""Runtimes and capacity as clients see them."""

from forge.scheduler.v1 import runtime_pb2, runtime_service_pb2

from services.chassis.wire import timestamp
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.runtime import Runtime, family_status
from services.scheduler.ports import Version
from services.scheduler.usecases.fleet_view import RuntimeView, TargetView


def pin(gpu_type: str, region: str) -> Pin:
    """A pin, where empty means any."""
    return Pin(gpu_type or None, region or None)


def runtime_to_proto(view: RuntimeView) -> runtime_pb2.Runtime:
    """A runtime."""
    runtime = view.runtime
    return runtime_pb2.Runtime(
        id=runtime.id,
        slug=runtime.slug,
        version=runtime.model_version,
        gpu_type=runtime.target.gpu_type,
        region=runtime.target.region,
        simulated=runtime.target.simulated,
        status=runtime.status,
        busy=runtime.is_busy,
        keep_warm=runtime.keep_warm,
        start_phase=runtime.start_phase,
        startup_ms=runtime.startup_ms,
        idle_release_seconds=view.idle_release_seconds,
        start_message=runtime.start_message,
        start_done_bytes=runtime.start_done_bytes,
        start_total_bytes=runtime.start_total_bytes,
        created_at=timestamp(runtime.created_at),
        cost_per_gpu_hour_usd=runtime.usd_per_hour,
        cost_so_far_usd=view.cost_so_far_usd,
    )


def family_to_proto(version: Version, views: list[RuntimeView]) -> runtime_service_pb2.FamilyStatus:
    """How warm a version is."""
    return runtime_service_pb2.FamilyStatus(
        slug=version.slug,
        version=version.model_version,
        status=family_status([view.runtime for view in views]),
        runtimes=map(runtime_to_proto, views),
    )


def started_to_proto(runtime: Runtime, was_cold_start: bool) -> runtime_service_pb2.StartRuntimeResponse:
    """A runtime that is warm now."""
    return runtime_service_pb2.StartRuntimeResponse(
        slug=runtime.slug,
        version=runtime.model_version,
        gpu_type=runtime.target.gpu_type,
        region=runtime.target.region,
        simulated=runtime.target.simulated,
        startup_ms=runtime.startup_ms or 0,
        was_cold_start=was_cold_start,
        keep_warm=runtime.keep_warm,
    )


def stopped_to_proto(version: Version, count: int) -> runtime_service_pb2.StopRuntimeResponse:
    """What was stopped."""
    return runtime_service_pb2.StopRuntimeResponse(
        slug=version.slug, version=version.model_version, stopped_runtimes=count
    )


def capacity_to_proto(views: list[TargetView]) -> runtime_service_pb2.GetCapacityResponse:
    """What is free where."""
    return runtime_service_pb2.GetCapacityResponse(
        targets=[
            runtime_pb2.TargetCapacity(
                gpu_type=view.target.gpu_type,
                region=view.target.region,
                simulated=view.target.simulated,
                total_slots=view.total_slots,
                absent_slots=view.absent_slots,
                free_slots=view.free_slots,
                idle_runtimes=view.idle_runtimes,
                busy_runtimes=view.busy_runtimes,
                queued_renders=view.queued_renders,
                queued_gpu_seconds=view.queued_gpu_seconds,
                open_circuits=[
                    runtime_pb2.OpenCircuit(
                        slug=circuit.slug,
                        version=circuit.model_version,
                        until=timestamp(circuit.until),
                        message=circuit.message,
                    )
                    for circuit in view.open_circuits
                ],
            )
            for view in views
        ]
    )
