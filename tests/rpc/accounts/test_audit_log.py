"""The audit log: what is kept of calls that change something, and who sees it."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import sqlalchemy as sa
from forge.accounts.v1 import account_service_pb2 as keys_pb2
from forge.accounts.v1 import (
    account_service_pb2_grpc,
    audit_pb2,
    audit_record_service_pb2,
    audit_record_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    session_service_pb2,
)
from grpc import aio
from sqlalchemy.exc import DBAPIError

from services.chassis.clients import channel_to
from services.chassis.identity import Caller, service_caller
from services.chassis.wire import timestamp

SERVICE = "forge.accounts.v1.AccountService"
REVOKE = f"{SERVICE}/RevokeApiKey"
A_RENDER = "rnd_01234567890123456789012345"


def ann(*scopes: str, account: str = "default", **more: str) -> Caller:
    return Caller(account, "key_of_the_caller", frozenset(scopes or ("admin",)), **more)


async def listed(accounts, caller: Caller | None = None, **wanted) -> audit_service_pb2.ListAuditEventsResponse:
    async with channel_to(accounts.address, caller or ann()) as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        return await stub.ListAuditEvents(audit_service_pb2.ListAuditEventsRequest(**wanted))


async def noted(accounts, count: int, caller: Caller | None = None, **wanted) -> list[audit_pb2.AuditEvent]:
    """The newest events, once there are so many: they are passed on beside the calls."""
    async with asyncio.timeout(10):
        while len(found := (await listed(accounts, caller, **wanted)).events) < count:
            await asyncio.sleep(0.01)
    assert len(found) == count
    return list(found)


async def record(accounts, *events: audit_pb2.AuditEvent) -> None:
    async with channel_to(accounts.address, service_caller("scheduler")) as channel:
        stub = audit_record_service_pb2_grpc.AuditRecordServiceStub(channel)
        await stub.RecordAuditEvents(audit_record_service_pb2.RecordAuditEventsRequest(events=events))


def event(number: int, *, at: datetime, **changes) -> audit_pb2.AuditEvent:
    facts = {
        "id": f"aud_{number:026d}",
        "occurred_at": timestamp(at),
        "account": "default",
        "api_key_id": "key_1",
        "method": "forge.scheduler.v1.RenderService/CancelRender",
        "resources": [A_RENDER],
        "outcome": "OK",
    }
    return audit_pb2.AuditEvent(**facts | changes)


async def test_a_call_that_changes_something_is_kept_with_who_what_when_and_how_it_ended(accounts):
    caller = ann(session_id="ses_1", request_id="req-7")
    async with channel_to(accounts.address, caller) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        made = await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="a private name"))
    (found,) = await noted(accounts, 1)
    assert found.id.startswith("aud_")
    assert (found.account, found.api_key_id, found.session_id) == ("default", "key_of_the_caller", "ses_1")
    assert (found.method, list(found.resources)) == (f"{SERVICE}/CreateApiKey", [made.api_key.id])
    assert (found.outcome, found.request_id) == ("OK", "req-7")
    assert found.occurred_at.ToDatetime(UTC) == accounts.clock.now()
    assert found.HasField("took_ms")
    assert "private" not in str(found)
    assert made.secret not in str(found)


async def test_a_call_that_failed_is_kept_with_its_reason(accounts):
    stub = await accounts.as_caller()
    with pytest.raises(aio.AioRpcError):
        await stub.RevokeApiKey(keys_pb2.RevokeApiKeyRequest(id="key_01234567890123456789012345"))
    (found,) = await noted(accounts, 1)
    assert (found.outcome, list(found.resources)) == ("API_KEY_NOT_FOUND", ["key_01234567890123456789012345"])


async def test_a_secret_that_was_pasted_in_place_of_an_id_is_not_kept(accounts):
    stub = await accounts.as_caller()
    made = await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="mine"))
    for pasted in (made.secret, "a prompt of several words", f"key_{'x' * 100_000}"):
        with pytest.raises(aio.AioRpcError):
            await stub.RevokeApiKey(keys_pb2.RevokeApiKeyRequest(id=pasted))
    for found in await noted(accounts, 3, method="RevokeApiKey"):
        assert list(found.resources) == []


async def test_a_call_without_the_scope_is_kept_as_refused(accounts):
    stub = await accounts.as_caller("default", "inference")
    with pytest.raises(aio.AioRpcError):
        await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="more than I may"))
    (found,) = await noted(accounts, 1)
    assert (found.outcome, found.api_key_id, list(found.resources)) == ("MISSING_SCOPE", "key_of_the_caller", [])


async def test_a_call_that_cannot_be_decoded_is_kept_too(accounts):
    async with channel_to(accounts.address, ann()) as channel:
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary(f"/{SERVICE}/CreateApiKey")(b"\xff\xff\xff")
    (found,) = await noted(accounts, 1)
    assert found.outcome == "MALFORMED_REQUEST"


async def test_what_only_reads_is_not_kept(accounts):
    stub = await accounts.as_caller()
    await stub.GetAccount(keys_pb2.GetAccountRequest())
    await stub.ListApiKeys(keys_pb2.ListApiKeysRequest())
    await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="the last call"))
    (found,) = await noted(accounts, 1)
    assert found.method == f"{SERVICE}/CreateApiKey"


async def test_a_session_begins_and_ends_in_the_name_of_its_key(accounts):
    stub = await accounts.as_caller("ann")
    made = await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="mine"))
    async with accounts.sessions() as sessions:
        begun = await sessions.CreateSession(session_service_pb2.CreateSessionRequest(secret=made.secret))
        ending = session_service_pb2.EndSessionRequest(session_id=begun.session_id)
        await sessions.EndSession(ending)
        await sessions.EndSession(ending)
    last, first = await noted(accounts, 2, ann(account="ann"), resource=begun.session_id)
    assert first.method.endswith("/CreateSession")
    assert last.method.endswith("/EndSession")
    assert {found.api_key_id for found in (first, last)} == {made.api_key.id}
    assert begun.token not in str([first, last])


async def test_an_account_sees_its_own_events_only(accounts):
    await record(accounts, event(1, at=accounts.clock.now()), event(2, at=accounts.clock.now(), account="eve"))
    (mine,) = (await listed(accounts)).events
    (hers,) = (await listed(accounts, ann(account="eve"))).events
    assert (mine.id, hers.id) == (event(1, at=accounts.clock.now()).id, event(2, at=accounts.clock.now()).id)


@pytest.mark.parametrize("scope", ["read", "inference"])
async def test_only_admins_see_the_audit_log(accounts, scope):
    with pytest.raises(aio.AioRpcError) as refusal:
        await listed(accounts, ann(scope))
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_no_key_writes_the_audit_log(accounts):
    async with channel_to(accounts.address, ann()) as channel:
        stub = audit_record_service_pb2_grpc.AuditRecordServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as refusal:
            await stub.RecordAuditEvents(audit_record_service_pb2.RecordAuditEventsRequest())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_told_twice_is_kept_once_as_it_was_told_first(accounts):
    at = accounts.clock.now()
    await record(accounts, event(1, at=at))
    await record(accounts, event(1, at=at, outcome="INTERNAL"), event(2, at=at))
    assert [found.outcome for found in (await listed(accounts)).events] == ["OK", "OK"]


async def test_events_are_found_by_method_key_resource_and_time(accounts):
    noon = accounts.clock.now()
    other_render = A_RENDER.replace("rnd_0", "rnd_9")
    create = "forge.scheduler.v1.RenderService/CreateRender"
    await record(
        accounts,
        event(1, at=noon),
        event(2, at=noon + timedelta(hours=1), api_key_id="key_2"),
        event(3, at=noon + timedelta(hours=2), method=create, resources=["alpha", other_render]),
    )

    async def numbers(**wanted) -> list[int]:
        return [int(found.id[4:]) for found in (await listed(accounts, **wanted)).events]

    assert await numbers() == [3, 2, 1]
    assert await numbers(api_key_id="key_2") == [2]
    assert await numbers(method="CreateRender") == await numbers(method=create) == [3]
    assert await numbers(resource=other_render) == await numbers(resource="alpha") == [3]
    assert await numbers(resource=A_RENDER) == [2, 1]
    assert await numbers(since=timestamp(noon + timedelta(hours=1))) == [3, 2]
    assert await numbers(until=timestamp(noon + timedelta(hours=1))) == [1]
    assert await numbers(resource="nothing-of-that-name") == []


async def test_pages_follow_each_other_without_a_gap_also_within_one_moment(accounts):
    at = accounts.clock.now()
    await record(accounts, *(event(number, at=at) for number in range(7)))
    found, token = [], ""
    for _ in range(4):
        page = await listed(accounts, page_size=2, page_token=token)
        found += [int(one.id[4:]) for one in page.events]
        token = page.next_page_token
    assert found == [6, 5, 4, 3, 2, 1, 0]
    assert token == ""


@pytest.mark.parametrize(
    ("wanted", "field", "says"),
    [
        ({"method": "CreateRendr"}, "method", "did you mean 'CreateRender'"),
        ({"method": "GetRender"}, "method", "no RPC that is audited"),
        ({"page_size": 101}, "page_size", "1 to 100"),
        ({"page_token": "aud_1"}, "page_token", "earlier answer"),
        ({"since": timestamp(datetime(2026, 1, 2)), "until": timestamp(datetime(2026, 1, 1))}, "until", "later"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(accounts, wanted, field, says):
    with pytest.raises(aio.AioRpcError) as refusal:
        await listed(accounts, **wanted)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{field}: " in (refusal.value.details() or "")
    assert says in (refusal.value.details() or "")


async def test_events_are_forgotten_when_they_are_older_than_they_are_kept(accounts):
    now = accounts.clock.now()
    await record(accounts, event(1, at=now - timedelta(days=401)), event(2, at=now - timedelta(days=399)))
    forgetting = asyncio.create_task(accounts.audit.forget_what_is_old())
    async with asyncio.timeout(10):
        while len(found := (await listed(accounts)).events) > 1:
            await asyncio.sleep(0.01)
    forgetting.cancel()
    (left,) = found
    assert left.id.endswith("2")
    resources = sa.text("SELECT event_id FROM audit_event_resources")
    rows = await accounts.database.read(lambda connection: connection.execute(resources).scalars().all())
    assert rows == [left.id]


async def test_the_database_itself_refuses_to_change_what_was_kept(accounts):
    await record(accounts, event(1, at=accounts.clock.now()))
    change = sa.text("UPDATE audit_events SET outcome = 'OK'")
    with pytest.raises(DBAPIError, match="not changed"):
        await accounts.database.write(lambda connection: connection.execute(change))
