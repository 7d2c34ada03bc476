"""Rotating a key: two that work beside each other, then one."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from forge.accounts.v1 import account_service_pb2 as pb2
from forge.accounts.v1 import api_key_pb2, session_service_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from services.accounts.__main__ import MIGRATIONS
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.chassis.errors import MissingScope
from services.chassis.identity import Caller
from services.chassis.storage import sqlite_database


def info_of(refusal: aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(refusal)  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    assert status is not None
    assert status.details[0].Unpack(info)
    return info


def at(stamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


@pytest.fixture
async def stub(accounts):
    return await accounts.as_caller()


@pytest.fixture
async def made(stub):
    return await stub.CreateApiKey(
        pb2.CreateApiKeyRequest(
            name="nightly job",
            scopes=["inference"],
            rate_limit=api_key_pb2.RateLimit(requests_per_second=5, burst=7),
        )
    )


async def test_both_keys_work_for_the_overlap_and_then_only_the_new_one(accounts, stub, made):
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id, overlap=Duration(seconds=3600)))
    assert rotated.secret != made.secret
    assert at(rotated.replaced.expires_at) == accounts.clock.now() + timedelta(hours=1)
    accounts.clock.pass_time(seconds=3599.9)
    assert await accounts.opens(made.secret)
    assert await accounts.opens(rotated.secret)
    accounts.clock.pass_time(seconds=0.1)
    assert not await accounts.opens(made.secret)
    assert await accounts.opens(rotated.secret)


async def test_the_new_key_has_the_rules_of_the_old_and_each_names_the_other(stub, made):
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    new, old = rotated.api_key, rotated.replaced
    assert (new.name, new.scopes, new.rate_limit) == (old.name, old.scopes, old.rate_limit)
    assert (new.rate_limit.requests_per_second, new.rate_limit.burst) == (5, 7)
    assert (new.replaces, new.replaced_by, old.replaces, old.replaced_by) == (old.id, "", "", new.id)
    assert not new.HasField("expires_at")
    assert rotated.secret.startswith(new.prefix)
    assert list((await stub.ListApiKeys(pb2.ListApiKeysRequest())).api_keys) == [new, old]


async def test_the_overlap_is_a_day_where_nobody_says(accounts, stub, made):
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    assert at(rotated.replaced.expires_at) == accounts.clock.now() + timedelta(days=1)


async def test_without_an_overlap_the_old_key_ends_at_once(accounts, stub, made):
    assert await accounts.opens(made.secret)
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id, overlap=Duration()))
    assert not await accounts.opens(made.secret)
    assert await accounts.opens(rotated.secret)


async def test_an_overlap_never_outlasts_the_old_key_and_the_new_one_lives_as_long_as_the_old_was_made_for(
    accounts, stub
):
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="short", ttl=Duration(seconds=7200)))
    accounts.clock.pass_time(hours=1.5)
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    assert rotated.replaced.expires_at == made.api_key.expires_at
    assert at(rotated.api_key.expires_at) == accounts.clock.now() + timedelta(hours=2)


@pytest.mark.parametrize("overlap", [Duration(seconds=-1), Duration(seconds=30 * 86_400 + 1), Duration(nanos=-1000)])
async def test_an_overlap_out_of_bounds_changes_nothing(overlap, accounts, stub, made):
    with pytest.raises(aio.AioRpcError) as refusal:
        await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id, overlap=overlap))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "overlap" in (refusal.value.details() or "")
    assert list((await stub.ListApiKeys(pb2.ListApiKeysRequest())).api_keys) == [made.api_key]


async def test_a_key_that_works_no_more_cannot_be_rotated(accounts, stub, made):
    await stub.RevokeApiKey(pb2.RevokeApiKeyRequest(id=made.api_key.id))
    ending = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="short", ttl=Duration(seconds=60)))
    accounts.clock.pass_time(seconds=60)
    for key, ended_at in ((made, "2026-01-01T12:00:30Z"), (ending, "2026-01-01T12:01:30Z")):
        with pytest.raises(aio.AioRpcError) as refusal:
            await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=key.api_key.id))
        assert refusal.value.code() is grpc.StatusCode.ABORTED
        assert info_of(refusal.value).reason == "API_KEY_ENDED"
        assert dict(info_of(refusal.value).metadata) == {"ended_at": ended_at}


async def test_a_key_whose_successor_works_is_not_rotated_again(stub, made):
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    with pytest.raises(aio.AioRpcError) as refusal:
        await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    assert refusal.value.code() is grpc.StatusCode.ABORTED
    assert info_of(refusal.value).reason == "API_KEY_ALREADY_ROTATED"
    assert dict(info_of(refusal.value).metadata) == {"replaced_by": rotated.api_key.id}
    again = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=rotated.api_key.id))
    assert again.api_key.replaces == rotated.api_key.id


async def test_a_key_whose_successor_was_revoked_can_be_rotated_again_and_ends_no_later(accounts, stub):
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="job", ttl=Duration(seconds=86_400)))
    first = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id, overlap=Duration(seconds=60)))
    await stub.RevokeApiKey(pb2.RevokeApiKeyRequest(id=first.api_key.id))
    second = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    assert second.replaced.replaced_by == second.api_key.id
    assert second.replaced.expires_at == first.replaced.expires_at
    assert at(second.api_key.expires_at) == accounts.clock.now() + timedelta(days=1)  # not the overlap's minute


async def test_of_rotations_at_once_one_happens(accounts, stub, made):
    calls = [stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id)) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb2.RotateApiKeyResponse) for answer in answers) == 1
    refusals = {info_of(answer).reason for answer in answers if isinstance(answer, aio.AioRpcError)}
    assert refusals == {"API_KEY_ALREADY_ROTATED"}
    assert len((await stub.ListApiKeys(pb2.ListApiKeysRequest())).api_keys) == 2


async def test_a_key_that_is_revoked_while_it_is_rotated_gets_no_successor(accounts, made):
    """What the store was shown of the old key must still be so."""
    store = SqlKeyStore(accounts.database)
    (old,) = await store.list("default")
    await store.revoke("default", old.id, accounts.clock.now())
    successor = (await accounts.keys.create(Caller("other", "key", frozenset({"admin"})), "x", [], None)).key
    assert await store.replace(old, successor, b"digest", accounts.clock.now()) is None
    (now,) = await store.list("default")
    assert (now.replaced_by, now.expires_at) == (None, None)


async def test_the_keys_of_others_cannot_be_rotated(accounts, made):
    for key_id in (made.api_key.id, "nope", ""):
        with pytest.raises(aio.AioRpcError) as refusal:
            await (await accounts.as_caller("other")).RotateApiKey(pb2.RotateApiKeyRequest(id=key_id))
        assert info_of(refusal.value).reason == "API_KEY_NOT_FOUND"


async def test_nobody_gives_a_successor_a_scope_they_do_not_hold(accounts, stub):
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="boss", scopes=["admin"]))
    caller = Caller("default", "key_1", frozenset({"inference"}))
    with pytest.raises(MissingScope, match="admin"):
        await accounts.keys.rotate(caller, made.api_key.id, None)
    assert len(await accounts.store.list("default")) == 1


async def test_no_secret_of_a_rotation_is_stored(accounts, stub, made):
    rotated = await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    stored = await accounts.stored()
    assert rotated.api_key.id.encode() in stored
    assert rotated.secret.encode() not in stored
    assert rotated.secret[-20:].encode() not in stored


async def test_a_session_lasts_as_long_as_the_old_key_and_no_longer(accounts, stub, made):
    async with accounts.sessions() as sessions:
        begun = await sessions.CreateSession(session_service_pb2.CreateSessionRequest(secret=made.secret))
    await stub.RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id, overlap=Duration(seconds=60)))
    assert (await accounts.check(cookie=f"forge_session={begun.token}")).HasField("ok_response")
    accounts.clock.pass_time(seconds=60)
    assert (await accounts.check(cookie=f"forge_session={begun.token}")).denied_response.status.code == 401


async def test_a_key_from_before_rotation_was_known_has_a_successor_with_its_lifetime(tmp_path):
    earlier = tmp_path / "migrations"
    earlier.mkdir()
    for name in ("0001_api_keys.py", "0002_sessions.py"):
        (earlier / name).write_text((MIGRATIONS / name).read_text())
    rows = (
        "INSERT INTO api_keys (id, account, name, prefix, digest, scopes, created_at_us, expires_at_us) VALUES"
        " ('ending', 'default', 'a', 'forge_', x'01', 'read', 5000000, 65000000),"
        " ('lasting', 'default', 'b', 'forge_', x'02', 'read', 5000000, NULL)"
    )
    async with sqlite_database(tmp_path / "accounts.sqlite", earlier) as database:
        await database.write(lambda connection: connection.exec_driver_sql(rows))
    async with sqlite_database(tmp_path / "accounts.sqlite", MIGRATIONS) as database:
        keys = {key.id: key for key in await SqlKeyStore(database).list("default")}
    assert (keys["ending"].lifetime, keys["lasting"].lifetime) == (timedelta(seconds=60), None)
    assert {(key.rate_limit, key.replaces, key.replaced_by) for key in keys.values()} == {(None, None, None)}
