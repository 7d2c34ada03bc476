"""The trace of a render: what was told while it happened, and what the render has on record where that is missing."""

from collections.abc import Iterable, Iterator
from math import inf

from opentelemetry import trace

from services.chassis.errors import ForgeError
from services.chassis.spans import Attributes, span_id_of
from services.chassis.telemetry import extract_context
from services.scheduler.domain.facts import Outcome
from services.scheduler.domain.render import ACTIVE, Render, RenderStatus
from services.scheduler.domain.trace import RenderSpan, RenderTrace, ToldSpans
from services.scheduler.ports import Spans
from services.scheduler.usecases import spans

_SERVICE = "scheduler"
_ON_RECORD = "shown is what the render itself has on record"


class Tracing:
    """Answers what was done for a render."""

    def __init__(self, told: Spans) -> None:
        self._told = told

    async def of(self, render: Render) -> RenderTrace:
        """The trace of a render. Its store being away is no reason to say nothing."""
        if not render.trace_id:
            return _from_records(render, f"the request was not traced; {_ON_RECORD}")
        try:
            told = await self._told.of_render(render.trace_id, render.id)
        except ForgeError:
            return _from_records(render, f"the span store does not answer; {_ON_RECORD}")
        if not told.spans:
            why = (
                "its spans are not kept any more, or the client asked for none"
                if render.is_final
                else "no span is over yet"
            )
            return _from_records(render, f"{why}; {_ON_RECORD}")
        return _filled_in(render, told)


def _filled_in(render: Render, told: ToldSpans) -> RenderTrace:
    """What was told of, and what goes on or was lost on the way."""
    known = {span.span_id for span in told.spans}
    missing = [span for span in (*_lasting(render), *_going_on(render)) if span.span_id not in known]
    note = "the trace is very large: some spans may be missing" if told.is_cut else ""
    return RenderTrace(render.id, render.trace_id, _in_order([*told.spans, *missing]), not told.is_cut, note)


def _from_records(render: Render, note: str) -> RenderTrace:
    found = [*_lasting(render), *_waits(render), *_going_on(render)]
    return RenderTrace(render.id, render.trace_id, _in_order(found), is_whole=False, note=note)


def _in_order(found: Iterable[RenderSpan]) -> list[RenderSpan]:
    """Those that began at the same moment from the longest on, so that none comes before what it is a part of."""
    return sorted(found, key=lambda span: (span.started_at, -inf if span.duration_ms is None else -span.duration_ms))


def _lasting(render: Render) -> Iterator[RenderSpan]:
    """The render and its attempts."""
    outer = trace.get_current_span(extract_context(render.trace_context)).get_span_context()
    went_wrong = render.status in (RenderStatus.FAILED, RenderStatus.EXPIRED)
    yield RenderSpan(
        span_id=_id_of_render(render),
        parent_span_id=_hex(outer.span_id) if outer.is_valid else "",
        service=_SERVICE,
        name=spans.RENDER,
        started_at=render.created_at,
        ended_at=render.ended_at,
        status="error" if went_wrong else "unset",
        attributes=_texts(spans.facts_of_render(render)),
    )
    for record in render.attempts:
        yield RenderSpan(
            span_id=_hex(spans.attempt_span_id(render, record.epoch)),
            parent_span_id=_id_of_render(render),
            service=_SERVICE,
            name=spans.ATTEMPT,
            started_at=record.began_at,
            ended_at=record.ended_at,
            status="error" if record.outcome in (Outcome.LOST, Outcome.FAILED) else "unset",
            attributes=_texts(spans.facts_of_attempt(render, record)),
        )


def _waits(render: Render) -> Iterator[RenderSpan]:
    """What lay between its attempts."""
    since, name = render.created_at, spans.QUEUE
    for record in render.attempts:
        yield _part(render, name, f"before {record.epoch}", RenderSpan("", "", _SERVICE, name, since, record.began_at))
        since = record.ended_at or record.began_at
        name = spans.PAUSE if record.outcome is Outcome.PAUSED else spans.QUEUE


def _going_on(render: Render) -> Iterator[RenderSpan]:
    """What it is at now."""
    if render.status in (RenderStatus.QUEUED, RenderStatus.PAUSED):
        name = spans.QUEUE if render.status is RenderStatus.QUEUED else spans.PAUSE
        yield _part(render, name, "now", RenderSpan("", "", _SERVICE, name, render.waits_since))
    elif render.status in ACTIVE and render.attempts:
        record = render.attempts[-1]
        name = spans.COLD_START if render.phase.value == "starting" else render.phase.value
        began = max(record.began_at, record.phase_began_at(render.phase))
        part = _part(render, name, "now", RenderSpan("", "", _SERVICE, name, began))
        yield RenderSpan(
            **{**vars(part), "parent_span_id": _hex(spans.attempt_span_id(render, record.epoch))},
        )


def _part(render: Render, name: str, which: str, span: RenderSpan) -> RenderSpan:
    facts = {
        "span_id": _hex(span_id_of(render.id, name, which)),
        "parent_span_id": _id_of_render(render),
        "attributes": {"forge.render_id": render.id},
    }
    return RenderSpan(**{**vars(span), **facts})


def _id_of_render(render: Render) -> str:
    return _hex(spans.render_span_id(render))


def _hex(span_id: int) -> str:
    return trace.format_span_id(span_id)


def _texts(facts: Attributes) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in facts.items()}
