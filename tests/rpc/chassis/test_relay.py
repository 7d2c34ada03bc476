"""Calls that another replica answers: what it is told of the caller, and what the caller hears."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from forge.common.v1 import access_pb2  # noqa: F401 — scopes of the contract are read from it
from forge.scheduler.v1 import runtime_service_pb2 as pb
from forge.scheduler.v1 import runtime_service_pb2_grpc as rpc
from grpc import aio

from forge_cli.certificates import EDGE, WORKER, service, write_certificates
from services.chassis.clients import channel_to
from services.chassis.errors import ForgeError, InvalidInput, Violation
from services.chassis.identity import Caller, caller, service_caller
from services.chassis.relay import Relay
from services.chassis.server import Mount, serving
from services.chassis.status import to_error
from services.chassis.trust import PLAIN_LOOPBACK, Certificates, Trust

A_KEY = Caller("acme", "key_1", frozenset({"inference"}), request_id="req-1")
SERVICES = ("forge.scheduler.v1.RuntimeService",)


class Servicer(rpc.RuntimeServiceServicer):
    """One replica. What it heard of callers is kept."""

    def __init__(self, name):
        self.name = name
        self.heard = []
        self.is_watched = asyncio.Event()
        self.is_left = asyncio.Event()

    async def GetFamilyStatus(self, request, context):  # noqa: N802 — as in the contract
        self.heard.append((caller(), dict(context.invocation_metadata() or ())))
        if request.slug == "broken":
            raise ValueError
        if request.slug:
            raise InvalidInput([Violation("slug", "is none")])
        await context.send_initial_metadata((("x-said-by", self.name),))
        return pb.FamilyStatus(slug=self.name)

    async def WatchFamily(self, request, context):  # noqa: N802 — as above
        if request.slug == "silent":
            await context.send_initial_metadata((("x-said-by", self.name),))
            await asyncio.Event().wait()
        if request.slug:
            raise InvalidInput([Violation("slug", "is none")])
        try:
            for number in range(2):
                yield pb.FamilyStatus(slug=f"{self.name} {number}")
            self.is_watched.set()
            await asyncio.Event().wait()
        finally:
            self.is_left.set()


def replica(name):
    return Servicer(name)  # pyright: ignore[reportAbstractUsage] — what it does not implement nobody calls here


@pytest.fixture
async def stack():
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def open_pair(stack):
    """Opens a leader and a replica that passes calls on to it; the channel of a caller to the replica."""

    async def opening(as_caller=A_KEY, *, elsewhere=None, trust=lambda name: PLAIN_LOOPBACK, shown="edge"):
        leader, follower = replica("leader"), replica("follower")
        there = await stack.enter_async_context(serving_one(leader, trust("scheduler")))
        address = elsewhere or (lambda: f"127.0.0.1:{there}")
        relay = await stack.enter_async_context(Relay("scheduler", SERVICES, address, trust("scheduler")))
        here = await stack.enter_async_context(serving_one(follower, trust("scheduler"), relay=relay))
        opened = channel_to(f"127.0.0.1:{here}", as_caller, trust=trust(shown), peer="scheduler")
        return rpc.RuntimeServiceStub(await stack.enter_async_context(opened)), leader, follower

    return opening


def serving_one(servicer, trust, **more):
    descriptor = pb.DESCRIPTOR.services_by_name["RuntimeService"]
    mount = Mount(descriptor, rpc.add_RuntimeServiceServicer_to_server, servicer)
    return serving("127.0.0.1:0", [mount], grace_seconds=0, trust=trust, **more)


@pytest.fixture
def trust(tmp_path):
    write_certificates(tmp_path / "tls", [EDGE, WORKER, service("scheduler"), service("catalog")])
    return lambda name: Trust(Certificates.in_folder(tmp_path / "tls", name))


async def failed(call):
    with pytest.raises(aio.AioRpcError) as failure:
        await call
    return failure.value


async def test_the_other_replica_answers_and_knows_who_asks(open_pair, trust):
    stub, leader, follower = await open_pair(trust=trust)
    call = stub.GetFamilyStatus(pb.GetFamilyStatusRequest(), metadata=(("idempotency-key", "k"), ("x-other", "o")))
    assert (await call).slug == "leader"
    assert dict(await call.initial_metadata())["x-said-by"] == "leader"
    ((asking, metadata),) = leader.heard
    assert asking == A_KEY
    assert metadata["idempotency-key"] == "k"
    assert "x-other" not in metadata
    assert not follower.heard


async def test_a_replica_that_leads_answers_itself(open_pair):
    stub, leader, follower = await open_pair(elsewhere=lambda: None)
    assert (await stub.GetFamilyStatus(pb.GetFamilyStatusRequest())).slug == "follower"
    assert (len(leader.heard), len(follower.heard)) == (0, 1)


@pytest.mark.parametrize(("slug", "reason"), [("x", "INVALID_INPUT"), ("broken", "INTERNAL")])
async def test_a_refusal_is_that_of_the_other_replica(open_pair, slug, reason):
    stub, _, _ = await open_pair()
    relayed = to_error(await failed(stub.GetFamilyStatus(pb.GetFamilyStatusRequest(slug=slug))), "scheduler")
    assert relayed.reason == reason
    if slug == "x":
        assert relayed.violations == (Violation("slug", "is none"),)


async def test_events_come_as_they_are_told_and_who_leaves_is_missed(open_pair):
    stub, leader, _ = await open_pair()
    call = stub.WatchFamily(pb.WatchFamilyRequest())
    events = aiter(call)
    assert [(await anext(events)).slug for _ in range(2)] == ["leader 0", "leader 1"]
    await leader.is_watched.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await leader.is_left.wait()


async def test_a_stream_that_is_refused_never_begins(open_pair):
    stub, _, _ = await open_pair()
    call = stub.WatchFamily(pb.WatchFamilyRequest(slug="x"))
    assert to_error(await failed(anext(aiter(call))), "scheduler").reason == "INVALID_INPUT"
    assert not await call.initial_metadata(), "what came was the refusal alone"


async def test_a_stream_that_says_nothing_yet_is_seen_to_begin(open_pair):
    stub, _, _ = await open_pair()
    call = stub.WatchFamily(pb.WatchFamilyRequest(slug="silent"))
    async with asyncio.timeout(5):
        assert dict(await call.initial_metadata())["x-said-by"] == "leader"


async def test_what_a_sibling_asks_on_its_own_account_is_asked_in_the_name_of_the_replica(open_pair, trust):
    stub, leader, _ = await open_pair(service_caller("catalog", "req-2"), trust=trust, shown="catalog")
    assert (await stub.GetFamilyStatus(pb.GetFamilyStatusRequest())).slug == "leader"
    assert leader.heard[0][0] == service_caller("scheduler", "req-2")


@pytest.mark.parametrize(
    ("as_caller", "shown"),
    [
        (A_KEY, "inference-worker"),
        (service_caller("scheduler"), "inference-worker"),
        (service_caller("scheduler"), "catalog"),
        (service_caller("catalog"), "edge"),
    ],
)
async def test_nobody_speaks_through_a_replica_in_anothers_name(open_pair, trust, as_caller, shown):
    stub, leader, _ = await open_pair(as_caller, trust=trust, shown=shown)
    assert (await failed(stub.GetFamilyStatus(pb.GetFamilyStatusRequest()))).code() is grpc.StatusCode.UNAUTHENTICATED
    first_event = anext(aiter(stub.WatchFamily(pb.WatchFamilyRequest())))
    assert (await failed(first_event)).code() is grpc.StatusCode.UNAUTHENTICATED
    assert not leader.heard


async def test_a_scope_that_is_missing_is_missed_by_the_other_replica_which_keeps_it_on_record(open_pair):
    reader = Caller("acme", "key_1", frozenset())
    stub, leader, _ = await open_pair(reader)
    relayed = to_error(await failed(stub.GetFamilyStatus(pb.GetFamilyStatusRequest())), "scheduler")
    assert relayed.reason == "MISSING_SCOPE"
    assert not leader.heard


@pytest.mark.parametrize("elsewhere", [lambda: "", lambda: "127.0.0.1:1"])
async def test_while_nobody_can_answer_the_caller_hears_when_to_ask_again(open_pair, elsewhere):
    stub, _, _ = await open_pair(elsewhere=elsewhere)
    for call in (
        stub.GetFamilyStatus(pb.GetFamilyStatusRequest()),
        anext(aiter(stub.WatchFamily(pb.WatchFamilyRequest()))),
    ):
        error = to_error(await failed(call), "scheduler")
        assert isinstance(error, ForgeError)
        assert (error.reason, error.retry_after_seconds) == ("SERVICE_UNAVAILABLE", 1.0)


async def test_calls_to_several_addresses_are_shared_out_and_go_on_without_one_that_has_ended(stack):
    one, other = replica("one"), replica("other")
    first = await stack.enter_async_context(serving_one(one, PLAIN_LOOPBACK))
    async with AsyncExitStack() as life:
        second = await life.enter_async_context(serving_one(other, PLAIN_LOOPBACK))
        both = f"127.0.0.1:{first},127.0.0.1:{second}"
        stub = rpc.RuntimeServiceStub(await stack.enter_async_context(channel_to(both, A_KEY)))
        async with asyncio.timeout(10):
            while not (one.heard and other.heard):
                await stub.GetFamilyStatus(pb.GetFamilyStatusRequest())
    for _ in range(10):
        assert (await stub.GetFamilyStatus(pb.GetFamilyStatusRequest(), wait_for_ready=True)).slug == "one"
