"""The spans of a render, and what its trace shows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.chassis.spans import SpanIds
from services.scheduler.domain.facts import Phase, Progress
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import Lease, RenderStatus
from services.scheduler.domain.trace import RenderSpan
from services.scheduler.ports import LoadMoment
from services.scheduler.usecases import spans as spans_module
from services.scheduler.usecases.spans import ColdStart, of_attempt, tell_of_change
from services.scheduler.usecases.tracing import Tracing
from tests.unit.scheduler.house_bench import TheirSpans

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TRACE, CLIENT = "ab" * 16, "cd" * 8
CONTEXT = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def leased(render, seconds, *, is_cold=False):
    lease = Lease("rt_1", Target("H200", "eu-north2"), is_cold, at(seconds + 30), "it was free", 0.1, 3600.0)
    return render.leased(lease, at(seconds))


@pytest.fixture
def told(monkeypatch):
    """Spans by name, in the order in which they were told."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=SpanIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans_module, "tracer", provider.get_tracer("test"))

    def found():
        return {span.name: span for span in exporter.get_finished_spans()}

    return found


@pytest.fixture
def queued(a_render):
    return a_render(created_at=NOON, trace_context=CONTEXT, trace_id=TRACE)


def seconds(span):
    return (span.end_time - span.start_time) / 1e9


def id_of(span):
    return f"{span.context.span_id:016x}"


def parent_of(span):
    return f"{span.parent.span_id:016x}"


def test_a_lease_ends_the_wait(told, queued):
    tell_of_change(queued, leased(queued, 3))
    assert seconds(told()["queue"]) == 3


def test_the_wait_for_a_second_attempt_begins_where_the_first_one_ended(told, queued):
    lost = leased(queued, 1).lost(at(10), "the worker was lost")
    tell_of_change(lost, leased(lost, 12))
    assert seconds(told()["queue"]) == 2


def test_a_pause_lasts_until_it_is_continued_and_what_follows_is_a_wait(told, queued):
    paused = leased(queued, 1).paused(at(10), None)
    continued = paused.continued(0, at(40))
    tell_of_change(paused, continued)
    tell_of_change(continued, leased(continued, 42))
    assert (seconds(told()["pause"]), seconds(told()["queue"])) == (30, 2)


def test_parts_of_an_attempt_hang_on_it_whoever_tells_of_its_end(told, queued):
    running = leased(queued, 1)
    before = of_attempt(running)["traceparent"].split("-")
    ended = running.ended(RenderStatus.SUCCEEDED, at(20))
    tell_of_change(running, ended)
    found = told()
    assert [TRACE, id_of(found["attempt"])] == before[1:3]
    assert parent_of(found["attempt"]) == id_of(found["render"])
    assert parent_of(found["render"]) == CLIENT
    assert (seconds(found["attempt"]), seconds(found["render"])) == (19, 20)
    assert found["render"].attributes["forge.status"] == "succeeded"


def test_attempts_have_ids_of_their_own(queued):
    first = leased(queued, 1)
    second = leased(first.lost(at(2), "lost"), 3)
    assert of_attempt(first) != of_attempt(second)
    assert of_attempt(replace(first, id="rnd_other")) != of_attempt(first)


def test_a_lost_attempt_shows_the_phase_it_died_in(told, queued):
    running = replace(leased(queued, 1), phase=Phase.DENOISING, progress=Progress(done_steps=7, total_steps=9))
    running = running.accrued(5.0, at(6))
    tell_of_change(running, running.lost(at(30), "the worker was lost"))
    found = told()
    assert seconds(found["denoising"]) == 5
    assert found["denoising"].attributes["forge.done_steps"] == 7
    assert parent_of(found["denoising"]) == id_of(found["attempt"])
    assert found["attempt"].attributes["forge.outcome"] == "lost"
    assert not found["attempt"].status.is_ok


def test_a_cold_start_is_told_of_with_all_its_phases(told, queued):
    running = leased(queued, 1, is_cold=True)
    start = ColdStart(at(1))
    for second, phase in ((1, "process"), (2, "imports"), (4, "weights"), (5, "weights"), (9, "ready")):
        start.note(LoadMoment(phase, phase), at(second))
    start.tell(running, at(10), failed=False)
    found = told()
    assert {name: seconds(span) for name, span in found.items()} == {
        "cold start": 9,
        "process": 1,
        "imports": 2,
        "weights": 6,
    }
    assert {parent_of(found[name]) for name in ("process", "imports", "weights")} == {id_of(found["cold start"])}
    assert parent_of(found["cold start"]) == of_attempt(running)["traceparent"].split("-")[2]


def test_a_render_outside_a_trace_and_one_whose_client_wants_none_have_no_spans(told, queued):
    for context in ({}, {"traceparent": f"00-{TRACE}-{CLIENT}-00"}):
        silent = replace(queued, trace_context=context)
        tell_of_change(silent, leased(silent, 1).ended(RenderStatus.SUCCEEDED, at(2)))
    assert not told()


# What the trace shows


def names(trace):
    return [span.name for span in trace.spans]


async def test_while_it_runs_what_is_not_over_yet_is_shown_as_going_on(queued):
    running = replace(leased(queued, 1), phase=Phase.DENOISING).accrued(4.0, at(6))
    encoding = RenderSpan(
        "e" * 16, of_attempt(running)["traceparent"].split("-")[2], "inference-worker", "encoding", at(1), at(2)
    )
    trace = await Tracing(TheirSpans(encoding)).of(running)
    assert trace.is_whole
    assert names(trace) == ["render", "attempt", "encoding", "denoising"]
    assert [span.duration_ms for span in trace.spans] == [None, None, 1000, None]
    parents = {span.name: span.parent_span_id for span in trace.spans}
    assert parents["encoding"] == parents["denoising"] == trace.spans[1].span_id


async def test_what_was_told_is_not_shown_twice(told, queued):
    running = leased(queued, 1)
    ended = running.ended(RenderStatus.SUCCEEDED, at(20))
    tell_of_change(running, ended)
    theirs = [
        RenderSpan(id_of(span), parent_of(span), "scheduler", name, at(0), at(1)) for name, span in told().items()
    ]
    assert sorted(names(await Tracing(TheirSpans(*theirs)).of(ended))) == ["attempt", "render"]


@pytest.mark.parametrize(
    ("theirs", "changes", "note"),
    [
        (TheirSpans(is_away=True), {}, "the span store does not answer"),
        (TheirSpans(), {}, "not kept any more"),
        (TheirSpans(), {"trace_id": "", "trace_context": {}}, "was not traced"),
    ],
)
async def test_without_spans_the_trace_is_what_the_render_has_on_record_and_says_why(theirs, changes, note, queued):
    first = leased(replace(queued, **changes), 1).lost(at(10), "the worker was lost")
    ended = leased(first, 12).ended(RenderStatus.SUCCEEDED, at(20))
    trace = await Tracing(theirs).of(ended)
    assert not trace.is_whole
    assert note in trace.note
    assert names(trace) == ["render", "queue", "attempt", "queue", "attempt"]
    assert [span.duration_ms for span in trace.spans] == [20_000, 1_000, 9_000, 2_000, 8_000]


async def test_what_waits_shows_its_wait(queued):
    trace = await Tracing(TheirSpans()).of(queued)
    assert [(span.name, span.duration_ms) for span in trace.spans] == [("render", None), ("queue", None)]
    assert "no span is over yet" in trace.note
