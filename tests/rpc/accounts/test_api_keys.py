"""Making, listing and revoking keys over gRPC."""

import asyncio
import subprocess
import sys
from datetime import timedelta

import grpc
import pytest
from forge.accounts.v1 import account_service_pb2 as pb2
from forge.accounts.v1 import api_key_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from services.chassis.errors import MissingScope
from services.chassis.identity import Caller
from services.chassis.secret_files import SecretFile


def unpacked(refusal, detail):
    status = rpc_status.from_call(refusal)
    next(packed for packed in status.details if packed.Unpack(detail))
    return detail


async def test_a_caller_learns_who_it_is(accounts):
    account = await (await accounts.as_caller("somebody", "inference")).GetAccount(pb2.GetAccountRequest())
    assert (account.account, account.api_key_id, list(account.scopes)) == (
        "somebody",
        "key_of_the_caller",
        ["inference"],
    )


async def test_a_new_key_opens_the_edge(accounts):
    stub = await accounts.as_caller()
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="laptop"))
    assert made.secret.startswith(made.api_key.prefix)
    assert list(made.api_key.scopes) == ["inference", "read"]
    assert not made.api_key.HasField("expires_at")
    assert await accounts.opens(made.secret)


async def test_no_secret_is_stored(accounts):
    made = await (await accounts.as_caller()).CreateApiKey(pb2.CreateApiKeyRequest(name="laptop"))
    stored = await accounts.stored()
    assert made.api_key.id.encode() in stored
    assert made.secret.encode() not in stored
    assert made.secret[-20:].encode() not in stored


async def test_everything_wrong_with_a_request_is_answered_at_once(accounts):
    with pytest.raises(aio.AioRpcError) as refusal:
        await (await accounts.as_caller()).CreateApiKey(
            pb2.CreateApiKeyRequest(
                scopes=["read", "root"],
                ttl=Duration(seconds=59),
                rate_limit=api_key_pb2.RateLimit(requests_per_second=float("nan"), burst=0),
            )
        )
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = unpacked(refusal.value, error_details_pb2.BadRequest()).field_violations
    assert [violation.field for violation in violations] == [
        "name",
        "scopes[1]",
        "ttl",
        "rate_limit.requests_per_second",
        "rate_limit.burst",
    ]


@pytest.mark.parametrize("call", ["CreateApiKey", "ListApiKeys", "RotateApiKey", "RevokeApiKey"])
@pytest.mark.parametrize("scope", ["read", "inference"])
async def test_keys_are_for_admins(accounts, call, scope):
    with pytest.raises(aio.AioRpcError) as refusal:
        await getattr(await accounts.as_caller("default", scope), call)(getattr(pb2, f"{call}Request")())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_nobody_gives_away_a_scope_they_do_not_hold(accounts):
    caller = Caller("default", "key_1", frozenset({"inference"}))
    with pytest.raises(MissingScope, match="admin"):
        await accounts.keys.create(caller, "a key", ["read", "admin"], None)


async def test_keys_are_listed_newest_first_and_only_to_their_account(accounts):
    mine, other = await accounts.as_caller("mine"), await accounts.as_caller("other")
    for name in ("one", "two", "three"):
        await mine.CreateApiKey(pb2.CreateApiKeyRequest(name=name))
        accounts.clock.pass_time(milliseconds=1)
    await other.CreateApiKey(pb2.CreateApiKeyRequest(name="not mine"))
    listed = (await mine.ListApiKeys(pb2.ListApiKeysRequest())).api_keys
    assert [key.name for key in listed] == ["three", "two", "one"]


async def test_a_revoked_key_opens_nothing_and_stays_in_the_list(accounts):
    stub = await accounts.as_caller()
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="laptop"))
    revoked = await stub.RevokeApiKey(pb2.RevokeApiKeyRequest(id=made.api_key.id))
    assert not await accounts.opens(made.secret)
    assert list((await stub.ListApiKeys(pb2.ListApiKeysRequest())).api_keys) == [revoked]


async def test_revoking_twice_is_the_same_as_once(accounts):
    stub = await accounts.as_caller()
    made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="laptop"))
    first = await stub.RevokeApiKey(pb2.RevokeApiKeyRequest(id=made.api_key.id))
    accounts.clock.pass_time(hours=1)
    assert await stub.RevokeApiKey(pb2.RevokeApiKeyRequest(id=made.api_key.id)) == first


async def test_the_keys_of_others_do_not_exist(accounts):
    made = await (await accounts.as_caller("owner")).CreateApiKey(pb2.CreateApiKeyRequest(name="laptop"))
    for key_id in (made.api_key.id, "nope", ""):
        with pytest.raises(aio.AioRpcError) as refusal:
            await (await accounts.as_caller("other")).RevokeApiKey(pb2.RevokeApiKeyRequest(id=key_id))
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        assert unpacked(refusal.value, error_details_pb2.ErrorInfo()).reason == "API_KEY_NOT_FOUND"
    assert await accounts.opens(made.secret)


async def test_a_key_stops_when_its_time_is_over(accounts):
    made = await (await accounts.as_caller()).CreateApiKey(
        pb2.CreateApiKeyRequest(name="short", ttl=Duration(seconds=60))
    )
    assert made.api_key.expires_at.ToDatetime() - made.api_key.created_at.ToDatetime() == timedelta(seconds=60)
    accounts.clock.pass_time(seconds=59.9)
    assert await accounts.opens(made.secret)
    accounts.clock.pass_time(seconds=0.1)
    assert not await accounts.opens(made.secret)


async def test_the_first_key_is_made_once_and_may_everything(accounts, tmp_path):
    file = tmp_path / "api-key"
    secret = await accounts.keys.make_first(SecretFile(file))
    assert file.read_text() == f"{secret}\n"
    assert (await accounts.guard.key_with(secret)).scopes == {"admin"}
    assert await accounts.keys.make_first(SecretFile(file)) is None
    assert await accounts.opens(file.read_text().strip())


async def test_there_is_a_new_first_key_when_no_other_works(accounts, tmp_path):
    file = SecretFile(tmp_path / "api-key")
    first = await accounts.keys.make_first(file)
    key = await accounts.guard.key_with(first)
    await accounts.keys.revoke(Caller("default", key.id, key.scopes), key.id)
    second = await accounts.keys.make_first(file)
    assert second not in (None, first)
    assert await accounts.opens(second)


def test_the_command_shows_the_first_key_once(tmp_path):
    command, environment = [sys.executable, "-m", "services.accounts", "first-key"], {"FORGE_HOME": str(tmp_path)}
    first, second = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert first.stdout == (tmp_path / "api-key").read_text()
    assert first.stdout.startswith("forge_local_")
    assert second.stdout == ""
    assert first.stdout.strip() not in first.stderr
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == dict.fromkeys(
        ["api-key", "secrets", "state"], 0
    )


async def test_a_name_that_no_database_keeps_is_refused_and_the_refusal_is_on_record(accounts):
    with pytest.raises(aio.AioRpcError) as refusal:
        await (await accounts.as_caller()).CreateApiKey(pb2.CreateApiKeyRequest(name="a\0b"))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "name: must not hold the character U+0000" in str(refusal.value.details())
    async with asyncio.timeout(10):
        while b"INVALID_INPUT" not in await accounts.stored():
            await asyncio.sleep(0.05)
