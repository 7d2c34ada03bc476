"""Rules of following renders and runtimes over connections that break, with streams made of lists."""

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from forge.scheduler.v1.render_pb2 import RenderEvent
from forge.scheduler.v1.runtime_service_pb2 import FamilyStatus
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from forge_cli.patience import Patience
from forge_cli.statuses import RequestFailed
from forge_cli.watching import follow, follow_family

EDGE_IS_GONE = aio.AioRpcError(
    grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), "failed to connect to all addresses"
)
SCHEDULER_IS_GONE = aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), "upstream reset")
STREAM_WAS_RESET = aio.AioRpcError(grpc.StatusCode.INTERNAL, aio.Metadata(), aio.Metadata(), "RST_STREAM")
SILENCE = TimeoutError()


class Streams:
    """Stands for a client: each stream that is opened is the next list; an exception in it is raised."""

    api_base = "http://forge.test"
    renders = SimpleNamespace(WatchRender="WatchRender")
    runtimes = SimpleNamespace(WatchFamily="WatchFamily")

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.requests: list[Any] = []

    async def stream(self, _method: object, request: Any, *, silence_seconds: float) -> Any:
        assert silence_seconds > 15  # the server's sign of life
        self.requests.append(request)
        for found in self.streams.pop(0):
            if isinstance(found, Exception):
                raise found
            yield found

    @property
    def resumed_after(self) -> list[int]:
        return [request.after_seq for request in self.requests]


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float = 120.0) -> Patience:
        return Patience(self.said.append, seconds=seconds, clock=lambda: self.now, sleep=self.sleep, draw=lambda: 0.5)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("forge_cli.patience._PAUSES_SECONDS", (0.1, 0.3, 1.0, 2.0))
    return Clock()


def at(seq: int, status: str = "running", *, keep_alive: bool = False) -> RenderEvent:
    return RenderEvent(seq=seq, status=status, keep_alive=keep_alive)


async def seqs_of(streams: Streams, patience: Patience, after_seq: int = 0) -> list[int]:
    events = follow(cast("Any", streams), "rnd_1", patience, after_seq=after_seq)
    return [event.seq async for event in events]


@pytest.mark.parametrize("broken", [EDGE_IS_GONE, SCHEDULER_IS_GONE, STREAM_WAS_RESET, SILENCE], ids=str)
async def test_every_event_comes_once_and_in_order_whatever_breaks(broken, clock):
    streams = Streams([at(1), at(2), broken], [broken], [at(3), broken], [at(4), at(5, "succeeded")])
    assert await seqs_of(streams, clock.patience()) == [1, 2, 3, 4, 5]
    assert streams.resumed_after == [0, 2, 2, 3]


async def test_a_stream_that_ends_before_the_render_does_is_taken_up(clock):
    streams = Streams([at(1)], [], [at(2, "failed")])
    assert await seqs_of(streams, clock.patience()) == [1, 2]


async def test_events_that_come_again_are_not_passed_on(clock):
    streams = Streams([at(1), at(2), SCHEDULER_IS_GONE], [at(1), at(2), at(3, "canceled")])
    assert await seqs_of(streams, clock.patience()) == [1, 2, 3]


async def test_nothing_is_asked_for_after_the_last_event(clock):
    streams = Streams([at(1, "expired"), at(2)], [at(2)])
    assert await seqs_of(streams, clock.patience()) == [1]
    assert len(streams.requests) == 1


async def test_a_watcher_may_begin_after_any_event(clock):
    streams = Streams([at(8), at(9, "succeeded")])
    assert await seqs_of(streams, clock.patience(), after_seq=7) == [8, 9]
    assert streams.resumed_after == [7]


async def test_signs_of_life_are_not_passed_on_but_show_that_the_connection_works(clock):
    alive = at(1, keep_alive=True)
    broken_for_long = [[EDGE_IS_GONE]] * 40  # 76 of the 120 s of patience
    streams = Streams(
        [at(1), EDGE_IS_GONE], *broken_for_long, [alive, EDGE_IS_GONE], *broken_for_long, [at(2, "failed")]
    )
    assert await seqs_of(streams, clock.patience()) == [1, 2]
    assert clock.now > 120


async def test_an_outage_that_does_not_end_is_told_and_then_given_up(clock):
    streams = Streams([at(1), EDGE_IS_GONE], *[[EDGE_IS_GONE]] * 100)
    with pytest.raises(RequestFailed, match=r"cannot reach Forge at http://forge\.test"):
        await seqs_of(streams, clock.patience())
    assert clock.now == pytest.approx(120)
    assert len(clock.said) == 1
    assert "trying again for" in clock.said[0]


async def test_a_refusal_is_not_tried_again(clock, packed_status):
    info = error_details_pb2.ErrorInfo(reason="RENDER_NOT_FOUND", domain="forge")
    status = rpc_status.to_status(packed_status(5, "no such render", info))
    refusal = aio.AioRpcError(status.code, aio.Metadata(), aio.Metadata(*status.trailing_metadata), status.details)
    with pytest.raises(RequestFailed) as raised:
        await seqs_of(Streams([refusal]), clock.patience())
    assert raised.value.reason == "RENDER_NOT_FOUND"


async def test_runtimes_are_followed_over_breaks_until_the_caller_leaves(clock):
    cold, warm = FamilyStatus(status="cold"), FamilyStatus(status="warm")
    streams = Streams([cold, SCHEDULER_IS_GONE], [EDGE_IS_GONE], [cold], [warm, warm])
    seen = []
    families = follow_family(cast("Any", streams), "toy", "v1", clock.patience())
    async for family in families:
        seen.append(family.status)
        if len(seen) == 3:
            break
    await families.aclose()
    assert seen == ["cold", "cold", "warm"]
    assert {(request.slug, request.version) for request in streams.requests} == {("toy", "v1")}
