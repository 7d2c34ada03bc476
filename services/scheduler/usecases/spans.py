"""The spans of a render: what it waited for and what was done, told of when it is over.

Their ids follow from the render and the epoch. So they join up whoever tells of them: parts of an attempt hang on it
that a worker told of which is dead by now, and its end is told by a scheduler that did not see its beginning.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

from opentelemetry import trace

from services.chassis.spans import Attributes, span_id_of, tell_of_span, within
from services.chassis.telemetry import extract_context
from services.scheduler.domain.facts import AttemptRecord, Outcome, Phase
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.ports import LoadMoment

tracer = trace.get_tracer("forge.scheduler")

RENDER, ATTEMPT, QUEUE, PAUSE, COLD_START = "render", "attempt", "queue", "pause", "cold start"
_RENDER_ID = "forge.render_id"
_WENT_WRONG = frozenset({Outcome.LOST, Outcome.FAILED})


def mark(render: Render) -> None:
    """The call that is answered is about a render."""
    trace.get_current_span().set_attribute(_RENDER_ID, render.id)


def render_span_id(render: Render) -> int:
    """The id of the span of a render."""
    return span_id_of(render.id)


def attempt_span_id(render: Render, epoch: int) -> int:
    """The id of the span of one of its attempts."""
    return span_id_of(render.id, epoch)


def of_render(render: Render) -> dict[str, str]:
    """The trace context, as headers, for parts of a render; empty for one that is not traced."""
    return within(render.trace_context, render_span_id(render))


def of_attempt(render: Render) -> dict[str, str]:
    """The trace context, as headers, for parts of its newest attempt; empty for one that is not traced."""
    return within(render.trace_context, attempt_span_id(render, render.epoch))


def inside(carrier: Mapping[str, str]) -> AbstractContextManager[object]:
    """During the block what is logged and called belongs there."""
    return trace.use_span(trace.get_current_span(extract_context(carrier)))


def tell_of_change(before: Render, after: Render) -> None:
    """Tell of what a change of a render has ended: its wait, its pause, its attempt, itself."""
    if not after.trace_context:
        return
    outer = of_render(after)
    ended_at = after.ended_at
    if before.status is RenderStatus.QUEUED and after.status is not RenderStatus.QUEUED:
        left_at = ended_at or (after.attempts[-1].began_at if after.attempts else before.waits_since)
        tell_of_span(tracer, QUEUE, outer, before.waits_since, left_at, attributes={_RENDER_ID: after.id})
    if before.status is RenderStatus.PAUSED and after.status is not RenderStatus.PAUSED:
        left_at = ended_at or after.continued_at or before.waits_since
        tell_of_span(tracer, PAUSE, outer, before.waits_since, left_at, attributes={_RENDER_ID: after.id})
    if before.attempts and before.attempts[-1].outcome is Outcome.RUNNING:
        record = after.attempts[-1]
        if record.ended_at is not None:
            _tell_of_attempt(before, after, record, record.ended_at, outer)
    if after.is_final and not before.is_final and ended_at is not None:
        failed = after.status in (RenderStatus.FAILED, RenderStatus.EXPIRED)
        tell_of_span(
            tracer,
            RENDER,
            after.trace_context,
            after.created_at,
            ended_at,
            span_id=render_span_id(after),
            attributes=facts_of_render(after),
            failed=failed,
        )


def facts_of_render(render: Render) -> Attributes:
    """What is said of a render in its span."""
    facts = {
        _RENDER_ID: render.id,
        "forge.model": render.slug,
        "forge.model_version": render.model_version,
        "forge.status": render.status.value,
    }
    return facts | ({"forge.reason": render.error.reason} if render.error else {})


def facts_of_attempt(render: Render, record: AttemptRecord) -> Attributes:
    """What is said of an attempt in its span."""
    facts: dict[str, str | int | float | bool] = {
        _RENDER_ID: render.id,
        "forge.attempt": record.attempt,
        "forge.epoch": record.epoch,
        "forge.outcome": record.outcome.value,
        "forge.gpu_type": record.target.gpu_type,
        "forge.region": record.target.region,
        "forge.simulated": record.target.simulated,
        "forge.runtime_id": record.runtime_id,
        "forge.gpu_seconds": round(record.gpu_seconds, 6),
    }
    if record.reason:
        facts["forge.reason"] = record.reason
    if record.resumed_steps:
        facts["forge.resumed_steps"] = record.resumed_steps
    return facts


@dataclass
class ColdStart:
    """What a render waits for until its runtime is warm, from the moment it began to wait.

    All of it is told of at once: a part without the whole would hang in the air if this process were lost.
    """

    began: datetime
    phases: list[tuple[str, datetime]] = field(default_factory=list)

    def note(self, moment: LoadMoment, now: datetime) -> None:
        """The start has come to a phase."""
        if moment.phase not in ("ready", "failed") and (not self.phases or self.phases[-1][0] != moment.phase):
            self.phases.append((moment.phase, now))

    def tell(self, render: Render, now: datetime, *, failed: bool) -> None:
        """It is over."""
        facts = {_RENDER_ID: render.id}
        whole = tell_of_span(tracer, COLD_START, of_attempt(render), self.began, now, attributes=facts, failed=failed)
        ends = [began for _, began in self.phases[1:]] + [now]
        for (name, began), ended in zip(self.phases, ends, strict=True):
            tell_of_span(tracer, name, whole, began, ended, attributes=facts)


def _tell_of_attempt(
    before: Render, after: Render, record: AttemptRecord, ended_at: datetime, outer: dict[str, str]
) -> None:
    steps = {"forge.done_steps": before.progress.done_steps, "forge.total_steps": before.progress.total_steps}
    tell_of_span(
        tracer,
        ATTEMPT,
        outer,
        record.began_at,
        ended_at,
        span_id=attempt_span_id(after, record.epoch),
        attributes={**facts_of_attempt(after, record), **steps},
        failed=record.outcome in _WENT_WRONG,
    )
    died_in = before.phase
    if record.outcome is Outcome.LOST and died_in is not Phase.STARTING:
        # The worker cannot tell of the phase that it died in.
        tell_of_span(
            tracer,
            died_in.value,
            within(after.trace_context, attempt_span_id(after, record.epoch)),
            max(record.began_at, before.attempts[-1].phase_began_at(died_in)),
            before.attempts[-1].accrued_at,
            attributes={_RENDER_ID: after.id, "forge.cut_off": True, **steps},
            failed=True,
        )
