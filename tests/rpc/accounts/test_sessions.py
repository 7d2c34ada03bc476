"""Sessions: a browser that was let in with a key."""

import grpc
import pytest
from forge.accounts.v1 import account_service_pb2 as keys_pb2
from forge.accounts.v1 import session_service_pb2 as pb2
from forge.accounts.v1 import session_service_pb2_grpc
from grpc import aio

from services.accounts.adapters.remembering_key_store import MEMORY_SECONDS
from services.accounts.domain import SESSION_TTL
from services.chassis.clients import channel_to
from services.chassis.identity import Caller

SAME_ORIGIN = {"origin": "http://forge.example", "sec-fetch-site": "same-origin"}


@pytest.fixture
async def made(accounts):
    stub = await accounts.as_caller()
    return await stub.CreateApiKey(keys_pb2.CreateApiKeyRequest(name="laptop", scopes=["inference"]))


@pytest.fixture
async def token(accounts, made):
    async with accounts.sessions() as sessions:
        return (await sessions.CreateSession(pb2.CreateSessionRequest(secret=made.secret))).token


def cookie(token: str) -> dict[str, str]:
    return {"cookie": f"theme=dark; forge_session={token}"}


def passed_as(answer) -> dict[str, str]:
    assert answer.HasField("ok_response"), answer
    return {option.header.key: option.header.value for option in answer.ok_response.headers}


async def test_a_session_passes_in_the_name_of_its_key_and_loses_the_cookie(accounts, made, token):
    answer = await accounts.check(**cookie(token))
    headers = passed_as(answer)
    assert headers.pop("x-forge-session").startswith("ses_")
    assert headers == {
        "x-forge-account": "default",
        "x-forge-key-id": made.api_key.id,
        "x-forge-scopes": "inference",
    }
    assert "cookie" in answer.ok_response.headers_to_remove


async def test_what_is_no_working_key_begins_no_session(accounts, made):
    async with accounts.sessions() as sessions:
        for secret in ("", "forge_local_x", made.secret[:-1] + ("0" if made.secret[-1] != "0" else "1")):
            with pytest.raises(aio.AioRpcError) as refused:
                await sessions.CreateSession(pb2.CreateSessionRequest(secret=secret))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_session_ends_with_its_key(accounts, made, token):
    stub = await accounts.as_caller()
    await stub.RevokeApiKey(keys_pb2.RevokeApiKeyRequest(id=made.api_key.id))
    assert (await accounts.check(**cookie(token))).denied_response.status.code == 401


async def test_a_session_ends_by_itself(accounts, token):
    accounts.clock.pass_time(seconds=SESSION_TTL.total_seconds() - 1)
    assert passed_as(await accounts.check(**cookie(token)))
    accounts.clock.pass_time(seconds=2)
    assert (await accounts.check(**cookie(token))).denied_response.status.code == 401


async def test_a_session_that_was_ended_opens_nothing_at_once(accounts, token):
    session_id = passed_as(await accounts.check(**cookie(token)))["x-forge-session"]
    async with accounts.sessions() as sessions:
        await sessions.EndSession(pb2.EndSessionRequest(session_id=session_id))
        await sessions.EndSession(pb2.EndSessionRequest(session_id=session_id))
    assert (await accounts.check(**cookie(token))).denied_response.status.code == 401


async def test_sessions_outlive_the_memory_of_the_service(accounts, token):
    accounts.clock.pass_time(seconds=MEMORY_SECONDS + 1)
    assert passed_as(await accounts.check(**cookie(token)))


async def test_expired_sessions_are_forgotten(accounts, made, token):
    accounts.clock.pass_time(seconds=SESSION_TTL.total_seconds() + 1)
    async with accounts.sessions() as sessions:
        await sessions.CreateSession(pb2.CreateSessionRequest(secret=made.secret))
    count = await accounts.database.read(
        lambda connection: connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar_one()
    )
    assert count == 1


@pytest.mark.parametrize("text", ["forge_session=", "forge_session=x", "forge_session={0}; forge_session={0}", "a={0}"])
async def test_any_other_cookie_is_refused(text, accounts, token):
    assert (await accounts.check(cookie=text.format(token))).denied_response.status.code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://forge.example.evil.example"},
        {"origin": "http://forge.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_page_of_another_origin_changes_nothing_with_a_session(headers, method, accounts, token):
    answer = await accounts.check(method=method, **headers, **cookie(token))
    assert answer.denied_response.status.code == 403
    assert "CROSS_ORIGIN" in answer.denied_response.body
    public = await accounts.check(method=method, access="public", **headers)
    assert public.denied_response.status.code == 403


@pytest.mark.parametrize(
    "headers", [SAME_ORIGIN, {"origin": "https://forge.example"}, {"sec-fetch-site": "same-origin"}]
)
async def test_its_own_pages_do(headers, accounts, token):
    assert passed_as(await accounts.check(method="POST", **headers, **cookie(token)))


async def test_a_key_needs_no_origin(accounts, made):
    headers = {"authorization": f"Bearer {made.secret}", "origin": "http://other.example"}
    assert passed_as(await accounts.check(method="POST", **headers))


async def test_a_wrong_key_is_not_made_good_by_a_session(accounts, token):
    answer = await accounts.check(authorization="Bearer nonsense", **cookie(token))
    assert answer.denied_response.status.code == 401


async def test_a_public_route_lets_strangers_pass_as_nobody(accounts):
    for headers in ({}, cookie("gone"), {"authorization": "Bearer nonsense"}):
        answer = await accounts.check(access="public", **headers)
        assert passed_as(answer) == {}
        assert list(answer.ok_response.headers_to_remove) == ["authorization", "cookie"]


async def test_no_key_may_begin_sessions(accounts, made):
    admin = Caller("default", "key", frozenset({"admin"}))
    async with channel_to(accounts.address, admin) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.CreateSession(pb2.CreateSessionRequest(secret=made.secret))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
