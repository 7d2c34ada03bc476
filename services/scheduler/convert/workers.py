"""What workers are told, and what they say."""

from forge.worker.v1 import worker_service_pb2

from services.chassis.wire import present
from services.scheduler.domain.facts import Failure, Output, PeakMemory, Phase
from services.scheduler.ports import Assignment, AttemptMoment, LoadMoment, Made, Version, WorkerState


def load_to_proto(version: Version) -> worker_service_pb2.LoadRequest:
    """What a worker needs to load a version."""
    return worker_service_pb2.LoadRequest(
        slug=version.slug,
        model_version=version.model_version,
        pipeline=version.pipeline,
        weights_repository=version.weights_repository,
        weights_revision=version.weights_revision,
        weights_dtype=version.weights_dtype,
    )


def load_moment(event: worker_service_pb2.LoadEvent) -> LoadMoment:
    """A moment of a load."""
    failure = _failure(event.failure) if event.HasField("failure") else None
    done, total = present(event, "done_bytes"), present(event, "total_bytes")
    return LoadMoment(event.phase, event.message or event.phase, failure, done, total, dict(event.software))


def assignment_to_proto(assignment: Assignment, after_seq: int) -> worker_service_pb2.RenderRequest:
    """What a worker needs to render."""
    request = worker_service_pb2.RenderRequest(
        render_id=assignment.render_id,
        epoch=assignment.epoch,
        output_key=assignment.output_key,
        checkpoint_key=assignment.checkpoint_key,
        fail_when_out_of_memory=assignment.fail_when_out_of_memory,
        pause_after_step=assignment.pause_after_step,
        after_seq=after_seq,
        trace_context=dict(assignment.trace_context),
    )
    request.input.update(assignment.inputs)
    return request


def attempt_moment(event: worker_service_pb2.AttemptEvent) -> AttemptMoment:
    """A moment of an attempt."""
    return AttemptMoment(
        seq=event.seq,
        phase=Phase(event.phase),
        done_steps=event.done_steps,
        total_steps=event.total_steps,
        fraction=event.fraction,
        eta_seconds_p50=present(event, "eta_seconds_p50"),
        eta_seconds_p90=present(event, "eta_seconds_p90"),
        message=event.message,
        pieces=event.pieces,
        playable_seconds=event.playable_seconds,
        preview_key=event.preview_key,
        checkpoint_key=event.checkpoint_key,
        result=_made(event.output) if event.HasField("output") else None,
        failure=_failure(event.failure) if event.HasField("failure") else None,
        canceled=event.HasField("canceled"),
        paused=event.HasField("paused"),
    )


def worker_state(status: worker_service_pb2.WorkerStatus) -> WorkerState:
    """What a worker says of itself."""
    return WorkerState(status.worker_id, status.state, status.slug, status.model_version, status.render_id)


def _made(output: worker_service_pb2.AttemptOutput) -> Made:
    return Made(
        output=_output(output),
        phase_ms=dict(output.phase_ms),
        warnings=tuple(output.warnings),
        mode=output.mode,
        peak_memory={
            phase: PeakMemory(int(peak.allocated_bytes), int(peak.reserved_bytes))
            for phase, peak in output.peak_memory.items()
        },
        eta_error=present(output, "eta_error"),
    )


def _output(output: worker_service_pb2.AttemptOutput) -> Output:
    return Output(
        key=output.key,
        media_type=output.media_type,
        size_bytes=output.size_bytes,
        sha256=output.sha256,
        width=output.width,
        height=output.height,
        num_frames=output.num_frames,
        fps=output.fps,
    )


def _failure(failure: worker_service_pb2.AttemptFailure) -> Failure:
    return Failure(failure.reason, failure.message, failure.retry)
