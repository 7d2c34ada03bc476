"""Taking spans: nobody waits, and what is too much is dropped and counted."""

import asyncio
from datetime import timedelta

from services.chassis.clock import SystemClock
from services.chassis.storage import StoreUnavailable
from services.traces import usecases
from services.traces.domain import RENDER_ID, FoundSpans, Retention, Span
from services.traces.usecases import SpanBook


class Memory:
    """A span store in memory that may be away."""

    def __init__(self):
        self.spans, self.is_away, self.batches = [], False, 0

    async def add(self, spans, now):
        if self.is_away:
            raise StoreUnavailable
        self.batches += 1
        self.spans += spans

    async def trace(self, trace_id):
        return FoundSpans([span for span in self.spans if span.trace_id == trace_id])

    async def prune(self, retention, now):
        return 0


class Counts:
    def __init__(self):
        self.kept_spans, self.dropped_spans = 0, {}

    def kept(self, spans):
        self.kept_spans += spans

    def dropped(self, spans, why):
        self.dropped_spans[why] = self.dropped_spans.get(why, 0) + spans


def a_book():
    store, counts = Memory(), Counts()
    retention = Retention(timedelta(days=1), timedelta(hours=1), 10**6)
    return SpanBook(store, retention=retention, meters=counts, clock=SystemClock()), store, counts


def a_span(number=1):
    return Span("t", f"{number}", "", "web", "x", 1, 2, attributes={RENDER_ID: "rnd_1"})


async def test_what_was_told_a_moment_ago_is_found():
    book, _, _ = a_book()
    book.take([a_span()])
    assert [span.span_id for span in (await book.of_render("t", "rnd_1")).spans] == ["1"]


async def test_spans_are_written_together_and_the_rest_at_the_end():
    book, store, counts = a_book()
    async with book.kept_written(on_failure=lambda: None):
        for number in range(10):
            book.take([a_span(number)])
        await asyncio.sleep(0)
        assert store.batches == 0
    assert (store.batches, counts.kept_spans) == (1, 10)


async def test_more_than_can_wait_is_dropped(monkeypatch):
    monkeypatch.setattr(usecases, "MOST_WAITING", 3)
    book, _, counts = a_book()
    book.take([a_span(number) for number in range(5)])
    assert counts.dropped_spans == {"too_many": 2}
    assert len((await book.of_render("t", "rnd_1")).spans) == 3


async def test_a_store_that_is_away_costs_spans_and_nothing_else():
    book, store, counts = a_book()
    store.is_away = True
    book.take([a_span()])
    await book.of_render("t", "rnd_1")
    assert counts.dropped_spans == {"store_unavailable": 1}
    store.is_away = False
    book.take([a_span(2)])
    assert [span.span_id for span in (await book.of_render("t", "rnd_1")).spans] == ["2"]
