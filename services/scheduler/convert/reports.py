"""What the ledger and the bills are told of attempts that have ended."""

from collections.abc import Iterator
from hashlib import sha256

from forge.billing.v1 import metering_service_pb2
from forge.catalog.v1 import ledger_service_pb2, measurement_pb2

from services.chassis.wire import timestamp
from services.scheduler.convert.values import target_to_proto
from services.scheduler.domain.facts import AttemptRecord, Outcome, Phase
from services.scheduler.domain.render import Render

# Limits that a request set itself: being stopped by one says nothing of the target.
_OWN_LIMITS = frozenset({"COST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"})
_TELLING = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.LOST})
MEASURED_PHASES = (Phase.ENCODING, Phase.DENOISING, Phase.DECODING, Phase.MUXING, Phase.STORING)


def use_to_proto(render: Render) -> metering_service_pb2.RecordUseRequest:
    """A render for its bill."""
    return metering_service_pb2.RecordUseRequest(
        render_id=render.id,
        seq=render.last_seq,
        account=render.account,
        api_key_id=render.api_key_id,
        slug=render.slug,
        model_version=render.model_version,
        status=render.status,
        is_final=render.is_final,
        created_at=timestamp(render.created_at),
        ended_at=timestamp(render.ended_at),
        attempts=[_use(record) for record in render.attempts if record.outcome is not Outcome.RUNNING],
        estimated_gpu_seconds=render.estimated_gpu_seconds,
        estimated_gpu_seconds_p90=render.estimated_gpu_seconds_p90,
        estimated_cost_usd=render.estimated_cost_usd,
    )


def measurements_to_proto(render: Render) -> ledger_service_pb2.RecordMeasurementsRequest:
    """What a render's attempts say of the targets they ran on."""
    return ledger_service_pb2.RecordMeasurementsRequest(measurements=_measurements(render))


def measurement_id(render_id: str, attempt: int) -> str:
    """What the measurement of an attempt is called: everybody may see it, so it does not say whose render it was."""
    return "msr_" + sha256(f"{render_id}/{attempt}".encode()).hexdigest()[:32]


def _measurements(render: Render) -> Iterator[measurement_pb2.Measurement]:
    for record in render.attempts:
        if record.outcome in _TELLING and record.reason not in _OWN_LIMITS:
            yield _measurement(render, record)


def _measurement(render: Render, record: AttemptRecord) -> measurement_pb2.Measurement:
    measurement = measurement_pb2.Measurement(
        id=measurement_id(render.id, record.attempt),
        slug=render.slug,
        model_version=render.model_version,
        gpu_type=record.target.gpu_type,
        region=record.target.region,
        simulated=record.target.simulated,
        source="probe" if render.probe_id else "organic",
        probe_id=render.probe_id,
        measured_at=timestamp(record.ended_at),
        outcome=record.outcome,
        reason=record.reason,
        is_first_run=record.is_first_run,
        is_resumed=record.resumed_steps > 0,
        cold_start_ms=record.startup_ms,
        software=record.software,
    )
    measurement.shape.update(render.shape)
    if record.outcome is not Outcome.SUCCEEDED:
        measurement.failed_phase = "".join([*record.phase_gpu_seconds][-1:])
        return measurement
    timing = render.timing
    held_seconds = record.gpu_seconds - record.phase_gpu_seconds.get(Phase.STARTING.value, 0.0)
    measurement.run_ms = round(1000 * max(0.0, held_seconds))
    measurement.mode = render.mode
    if timing.model_ms is not None:
        measurement.model_ms = timing.model_ms
    phases = (timing.encode_ms, timing.denoise_ms, timing.decode_ms, timing.mux_ms, timing.store_ms)
    for phase, milliseconds in zip(MEASURED_PHASES, phases, strict=True):
        if milliseconds is not None:
            measurement.phase_ms[phase.value] = milliseconds
    if render.peak_memory:
        measurement.peak_allocated_bytes = max(peak.allocated_bytes for peak in render.peak_memory.values())
        measurement.peak_reserved_bytes = max(peak.reserved_bytes for peak in render.peak_memory.values())
    return measurement


def _use(record: AttemptRecord) -> metering_service_pb2.AttemptUse:
    return metering_service_pb2.AttemptUse(
        attempt=record.attempt,
        target=target_to_proto(record.target),
        started_at=timestamp(record.began_at),
        ended_at=timestamp(record.ended_at),
        outcome=record.outcome,
        phase_gpu_seconds=record.phase_gpu_seconds,
        cost_per_gpu_hour_usd=record.usd_per_hour,
        resumed_steps=record.resumed_steps,
    )
