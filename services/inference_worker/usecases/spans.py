"""The spans of one attempt: a part of the scheduler's for each phase, with its steps and checkpoints as facts."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import trace

from services.chassis.telemetry import extract_context
from services.inference_worker.domain.attempt import AttemptId, Phase

tracer = trace.get_tracer("forge.inference_worker")


class AttemptSpans:
    """Hang on the span whose context came with the assignment, which outlives this process. One thread at a time."""

    def __init__(self, attempt_id: AttemptId, trace_context: Mapping[str, str]) -> None:
        self._context = extract_context(trace_context)
        self._is_traced = trace.get_current_span(self._context).get_span_context().is_valid
        self._facts = {"forge.render_id": attempt_id.render_id, "forge.epoch": attempt_id.epoch}
        self._open: trace.Span | None = None

    def inside(self) -> AbstractContextManager[object]:
        """During the block what is logged belongs to the attempt."""
        return trace.use_span(trace.get_current_span(self._context))

    def enter(self, phase: Phase) -> None:
        """A phase begins, and the one before is over."""
        self.end()
        if self._is_traced and phase is not Phase.DONE:
            self._open = tracer.start_span(phase, self._context, attributes=self._facts)

    def took_steps(self, done: int, total: int) -> None:
        """So many denoising steps are done."""
        if self._open is not None:
            self._open.set_attributes({"forge.done_steps": done, "forge.total_steps": total})

    def note(self, what: str, *, step: int, size_bytes: int) -> None:
        """Something was made of the present step."""
        if self._open is not None:
            self._open.add_event(what, {"forge.done_steps": step, "forge.bytes": size_bytes})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """During the block something is done that is no phase."""
        if not self._is_traced:
            yield
            return
        span = tracer.start_span(name, self._context, attributes=self._facts)
        try:
            yield
        finally:
            span.end()

    def end(self, *, failed: bool = False) -> None:
        """The present phase is over."""
        if self._open is not None:
            if failed:
                self._open.set_status(trace.StatusCode.ERROR)
            self._open.end()
            self._open = None
