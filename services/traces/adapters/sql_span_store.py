"""Spans in a SQL database: a row each, found by their trace."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.chassis.storage import Database
from services.traces.domain import FoundSpans, Retention, Span, SpanEvent

_traces = sa.table("traces", *map(sa.column, ("trace_id", "seen_at", "is_of_render", "spans", "bytes")))
_spans = sa.table("spans", *map(sa.column, ("id", "trace_id", "body")))

MOST_SPANS_OF_A_TRACE = 20_000
"""A trace id is the client's choice, and one that is used for everything would grow for ever: its oldest spans go."""
_FORGOTTEN_AT_ONCE = 200
_ROOM_AFTERWARDS = 0.9
_BYTES_OF_A_SPAN = 150
"""What a row takes beside its body: its key, its trace, and both once more in an index."""

_ADD_TRACE = sa.text(
    "insert into traces (trace_id, seen_at, is_of_render, spans, bytes)"
    " values (:trace_id, :seen_at, :is_of_render, :spans, :bytes)"
    " on conflict (trace_id) do update set seen_at = excluded.seen_at, spans = traces.spans + excluded.spans,"
    " bytes = traces.bytes + excluded.bytes, is_of_render = (traces.is_of_render or excluded.is_of_render)"
    " returning spans"
)
_ADD_SPAN = sa.insert(_spans)
_NEWEST = (
    sa.select(_spans.c.body)
    .where(_spans.c.trace_id == sa.bindparam("of_trace"))
    .order_by(_spans.c.id.desc())
    .limit(MOST_SPANS_OF_A_TRACE + 1)
)


class SqlSpanStore:
    """A SpanStore on the schema that `migrations` make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, spans: Sequence[Span], now: datetime) -> None:
        """Keep spans, in one transaction."""
        by_trace: dict[str, list[Span]] = defaultdict(list)
        for span in spans:
            by_trace[span.trace_id].append(span)
        rows = [{"trace_id": bytes.fromhex(span.trace_id), "body": _body(span)} for span in spans]
        sizes: dict[str, int] = defaultdict(int)
        for span, row in zip(spans, rows, strict=True):
            sizes[span.trace_id] += len(row["body"]) + _BYTES_OF_A_SPAN

        def add(connection: sa.Connection) -> None:
            connection.execute(_ADD_SPAN, rows)
            for trace_id, own in by_trace.items():
                row = {
                    "trace_id": bytes.fromhex(trace_id),
                    "seen_at": int(now.timestamp()),
                    "is_of_render": any(span.render_id for span in own),
                    "spans": len(own),
                    "bytes": sizes[trace_id],
                }
                if connection.execute(_ADD_TRACE, row).scalar_one() > MOST_SPANS_OF_A_TRACE:
                    _shorten(connection, row["trace_id"])

        await self._database.write(add)

    async def trace(self, trace_id: str) -> FoundSpans:
        """The spans of a trace."""
        asked = {"of_trace": bytes.fromhex(trace_id)}
        bodies = await self._database.read(lambda connection: connection.execute(_NEWEST, asked).scalars().all())
        is_cut = len(bodies) > MOST_SPANS_OF_A_TRACE
        return FoundSpans([_span(trace_id, body) for body in bodies[:MOST_SPANS_OF_A_TRACE]], is_cut)

    async def prune(self, retention: Retention, now: datetime) -> int:
        """Forget traces, some at a time, so that what is told meanwhile can be written in between."""
        ages = {True: now - retention.renders, False: now - retention.others}
        too_old = sa.or_(
            *(
                sa.and_(_traces.c.is_of_render.is_(kind), _traces.c.seen_at < int(age.timestamp()))
                for kind, age in ages.items()
            )
        )
        forgotten = 0
        while count := await self._database.write(
            lambda connection: _forget(connection, sa.select(_traces).where(too_old))
        ):
            forgotten += count
        if await self._database.read(_used_bytes) <= retention.max_bytes:
            return forgotten
        oldest = sa.select(_traces).order_by(_traces.c.is_of_render, _traces.c.seen_at)
        while await self._database.read(_used_bytes) > _ROOM_AFTERWARDS * retention.max_bytes:
            count = await self._database.write(lambda connection: _forget(connection, oldest))
            if not count:
                break
            forgotten += count
        return forgotten


def _forget(connection: sa.Connection, which: sa.Select[Any]) -> int:
    ids = [row.trace_id for row in connection.execute(which.limit(_FORGOTTEN_AT_ONCE))]
    for table in (_spans, _traces):
        connection.execute(sa.delete(table).where(table.c.trace_id.in_(ids)))
    return len(ids)


def _shorten(connection: sa.Connection, trace_id: bytes) -> None:
    """Forget the older half of a trace."""
    ids = sa.select(_spans.c.id).where(_spans.c.trace_id == trace_id).order_by(_spans.c.id.desc())
    kept = ids.limit(1).offset(MOST_SPANS_OF_A_TRACE // 2).scalar_subquery()
    connection.execute(sa.delete(_spans).where(_spans.c.trace_id == trace_id, _spans.c.id < kept))
    count, size = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(sa.func.length(_spans.c.body))).where(_spans.c.trace_id == trace_id)
    ).one()
    left = {"spans": count, "bytes": size + count * _BYTES_OF_A_SPAN}
    connection.execute(sa.update(_traces).where(_traces.c.trace_id == trace_id).values(left))


def _used_bytes(connection: sa.Connection) -> int:
    """What the rows take; room that became free is used again."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(_traces.c.bytes), 0))).scalar_one())


def _body(span: Span) -> str:
    events = [[event.at_us, event.name, dict(event.attributes)] for event in span.events]
    facts = [
        span.span_id,
        span.parent_span_id,
        span.service,
        span.name,
        span.began_us,
        span.ended_us,
        span.status,
        int(span.is_entrance),
        dict(span.attributes),
        events,
    ]
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False)


def _span(trace_id: str, body: str) -> Span:
    span_id, parent, service, name, began, ended, status, is_entrance, attributes, events = json.loads(body)
    return Span(
        trace_id,
        span_id,
        parent,
        service,
        name,
        began,
        ended,
        status,
        bool(is_entrance),
        attributes,
        tuple(SpanEvent(*event) for event in events),
    )
