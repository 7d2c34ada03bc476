"""Protobuf to the worker's words and back."""

from forge.worker.v1 import worker_service_pb2 as pb
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from services.inference_worker.domain.attempt import (
    Assignment,
    AttemptEvent,
    AttemptId,
    Canceled,
    Failure,
    Output,
    Paused,
    StartEvent,
    WorkerStatus,
)
from services.inference_worker.domain.version import Version


def version(request: pb.LoadRequest) -> Version:
    """The version to load."""
    return Version(
        slug=request.slug,
        model_version=request.model_version,
        pipeline=request.pipeline,
        weights_repository=request.weights_repository,
        weights_revision=request.weights_revision,
        weights_dtype=request.weights_dtype,
    )


def assignment(request: pb.RenderRequest) -> Assignment:
    """What to render."""
    return Assignment(
        id=AttemptId(request.render_id, request.epoch),
        inputs=inputs(request.input),
        output_key=request.output_key,
        checkpoint_key=request.checkpoint_key or None,
        may_make_room=not request.fail_when_out_of_memory,
        pause_after_step=request.pause_after_step or None,
        trace_context=dict(request.trace_context),
    )


def inputs(struct: Struct) -> dict[str, object]:
    """Inputs by name. JSON has one kind of number: those without a fraction become int."""
    return {
        field: int(value) if isinstance(value, float) and value.is_integer() else value
        for field, value in MessageToDict(struct).items()
    }


def attempt_id(request: pb.CancelRequest) -> AttemptId:
    """The attempt to stop."""
    return AttemptId(request.render_id, request.epoch)


def start_event_to_proto(event: StartEvent) -> pb.LoadEvent:
    """How a start goes."""
    return pb.LoadEvent(
        phase=event.moment.phase,
        message=event.moment.message,
        done_bytes=event.moment.done_bytes,
        total_bytes=event.moment.total_bytes,
        failure=_failure(event.failure) if event.failure else None,
        load_ms=event.load_ms,
        software=event.software,
    )


def attempt_event_to_proto(event: AttemptEvent) -> pb.AttemptEvent:
    """A moment of an attempt."""
    reading, result = event.reading, event.result
    return pb.AttemptEvent(
        seq=event.seq,
        phase=reading.phase,
        done_steps=reading.done_steps,
        total_steps=reading.total_steps,
        fraction=reading.fraction,
        eta_seconds_p50=reading.eta_seconds_p50,
        eta_seconds_p90=reading.eta_seconds_p90,
        message=event.message,
        playable_seconds=event.kept.playable_seconds,
        pieces=event.kept.pieces,
        preview_key=event.kept.preview_key,
        checkpoint_key=event.kept.checkpoint_key,
        output=_output(result) if isinstance(result, Output) else None,
        failure=_failure(result) if isinstance(result, Failure) else None,
        canceled=pb.AttemptCanceled() if isinstance(result, Canceled) else None,
        paused=pb.AttemptPaused() if isinstance(result, Paused) else None,
    )


def status_to_proto(status: WorkerStatus) -> pb.WorkerStatus:
    """What a worker is doing."""
    return pb.WorkerStatus(
        worker_id=status.worker_id,
        state=status.state,
        slug=status.version.slug if status.version else "",
        model_version=status.version.model_version if status.version else "",
        render_id=status.running.render_id if status.running else "",
        epoch=status.running.epoch if status.running else 0,
    )


def _failure(failure: Failure) -> pb.AttemptFailure:
    return pb.AttemptFailure(reason=failure.reason, message=failure.message, retry=failure.retry)


def _output(output: Output) -> pb.AttemptOutput:
    return pb.AttemptOutput(
        key=output.key,
        media_type=output.media_type,
        size_bytes=output.size_bytes,
        sha256=output.sha256,
        width=output.width,
        height=output.height,
        num_frames=output.num_frames,
        fps=output.fps,
        phase_ms={str(phase): milliseconds for phase, milliseconds in output.phase_ms.items()},
        warnings=output.warnings,
        mode=output.mode,
        peak_memory={
            str(phase): pb.PeakMemory(allocated_bytes=peak.allocated_bytes, reserved_bytes=peak.reserved_bytes)
            for phase, peak in output.peak_memory.items()
        },
        eta_error=output.eta_error,
    )
