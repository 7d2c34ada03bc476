"""Rules of every span store, on the SQL one."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from services.traces.__main__ import MIGRATIONS
from services.traces.adapters import sql_span_store
from services.traces.adapters.sql_span_store import SqlSpanStore
from services.traces.domain import RENDER_ID, Retention, Span, SpanEvent

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEPT = Retention(renders=timedelta(days=7), others=timedelta(hours=1), max_bytes=10**9)


def a_span(number, trace="a", *, render_id=""):
    attributes = {RENDER_ID: render_id} if render_id else {}
    return Span(trace * 32, f"{number:016x}", "", "edge", "GET models", number, number + 1, attributes=attributes)


@pytest.fixture
def open_store(tmp_path, open_database):
    """Opens the store; opening it again is a restart."""

    @asynccontextmanager
    async def opening():
        async with open_database(tmp_path / "traces.sqlite3", MIGRATIONS) as database:
            yield SqlSpanStore(database)

    return opening


@pytest.fixture
async def store(open_store):
    async with open_store() as opened:
        yield opened


async def ids(store, trace="a"):
    return {int(span.span_id, 16) for span in (await store.trace(trace * 32)).spans}


async def test_a_span_comes_back_as_it_was(store):
    event = SpanEvent(5, "checkpoint", {"forge.done_steps": "3"})
    span = Span("c" * 32, "d" * 16, "e" * 16, "web", "é", 1, 9, "error", True, {RENDER_ID: "rnd_1"}, (event,))
    await store.add([span], NOON)
    assert (await store.trace("c" * 32)).spans == [span]


async def test_a_trace_has_its_own_spans_only_and_keeps_them(store, open_store):
    await store.add([a_span(1), a_span(2, "b")], NOON)
    async with open_store() as again:
        assert await ids(again) == {1}
        assert await ids(again, "f") == set()


async def test_traces_of_renders_outlast_those_of_other_requests(store):
    await store.add([a_span(1), a_span(2, "b", render_id="rnd_1")], NOON)
    assert await store.prune(KEPT, NOON + timedelta(minutes=59)) == 0
    assert await store.prune(KEPT, NOON + timedelta(hours=2)) == 1
    assert (await ids(store), await ids(store, "b")) == (set(), {2})
    assert await store.prune(KEPT, NOON + timedelta(days=8)) == 1
    assert await ids(store, "b") == set()


async def test_a_trace_is_a_render_s_from_the_first_span_that_names_one(store):
    await store.add([a_span(1)], NOON)
    await store.add([a_span(2, render_id="rnd_1")], NOON)
    await store.add([a_span(3)], NOON)
    await store.prune(KEPT, NOON + timedelta(hours=2))
    assert await ids(store) == {1, 2, 3}


async def test_where_there_is_no_room_the_oldest_go_and_renders_last(store, monkeypatch):
    monkeypatch.setattr(sql_span_store, "_FORGOTTEN_AT_ONCE", 1)
    for number, trace in enumerate("abcdef"):
        spans = [a_span(n, trace, render_id="rnd_1" if trace in "ab" else "") for n in range(500)]
        await store.add(spans, NOON + timedelta(seconds=number))
    assert await store.prune(Retention(KEPT.renders, KEPT.others, 300_000), NOON) > 0
    left = [trace for trace in "abcdef" if await ids(store, trace)]
    assert left[:2] == ["a", "b"]
    assert left == ["a", "b", *left[2:]] == sorted(left)
    assert "c" not in left


async def test_one_trace_cannot_grow_for_ever(store, monkeypatch):
    monkeypatch.setattr(sql_span_store, "MOST_SPANS_OF_A_TRACE", 100)
    for first in range(0, 250, 25):
        await store.add([a_span(n) for n in range(first, first + 25)], NOON)
    found = await ids(store)
    assert max(found) == 249
    assert len(found) <= 100
