"""Envoy's question about every request."""

import asyncio
import base64
import hmac
import json

import grpc
import pytest
import sqlalchemy as sa
from forge.accounts.v1 import account_service_pb2 as pb2
from forge.accounts.v1 import session_service_pb2
from google.rpc import status_pb2
from grpc import aio

from services.accounts.adapters.remembering_key_store import MEMORY_SECONDS
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.domain import new_secret
from services.accounts.usecases.use_log import UseLog


@pytest.fixture
async def secret(accounts):
    made = await (await accounts.as_caller()).CreateApiKey(pb2.CreateApiKeyRequest(name="laptop", scopes=["inference"]))
    return made.secret


async def test_who_passes_gets_the_identity_of_the_key_and_loses_the_secret(accounts, secret):
    answer = await accounts.check(authorization=f"Bearer {secret}")
    assert answer.status.code == 0
    headers = {option.header.key: option.header.value for option in answer.ok_response.headers}
    (key,) = await accounts.store.list("default")
    assert headers == {"x-forge-account": "default", "x-forge-key-id": key.id, "x-forge-scopes": "inference"}
    assert {option.append_action for option in answer.ok_response.headers} == {2}
    assert list(answer.ok_response.headers_to_remove) == ["authorization", "cookie"]


@pytest.mark.parametrize("form", ["Bearer {0}", "bearer {0}", "BEARER   {0} "])
async def test_the_scheme_may_be_written_any_way(form, accounts, secret):
    assert (await accounts.check(authorization=form.format(secret))).HasField("ok_response")


@pytest.mark.parametrize(
    "form", ["", "{0}", "Bearer", "Basic {0}", "Bearer{0}", "Bearer {0} {0}", "Bearer {0}x", "Bearer \u00e9"]
)
async def test_anything_else_is_refused(form, accounts, secret):
    answer = await accounts.check(authorization=form.format(secret))
    assert answer.denied_response.status.code == 401


async def test_a_request_without_the_header_is_refused_in_json(accounts):
    refusal = (await accounts.check()).denied_response
    headers = {option.header.key: option.header.value for option in refusal.headers}
    assert headers == {"www-authenticate": "Bearer", "content-type": "application/json"}
    body = json.loads(refusal.body)
    assert (body["code"], body["details"][0]["reason"]) == (16, "UNAUTHENTICATED")


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
async def test_a_native_request_is_refused_with_a_message_and_packed_details(content_type, accounts):
    refusal = (await accounts.check(content_type=content_type)).denied_response
    headers = {option.header.key: option.header.value for option in refusal.headers}
    status = status_pb2.Status.FromString(base64.b64decode(headers["grpc-status-details-bin"]))
    assert refusal.body == status.message
    assert len(status.details) == 1


async def test_a_well_formed_key_that_was_never_made_is_refused(accounts):
    assert not await accounts.opens(new_secret("test"))


async def test_a_mistyped_key_is_refused_without_a_look_up_and_a_failed_look_up_opens_nothing(accounts, secret):
    await accounts.database.write(lambda connection: connection.execute(sa.text("DROP TABLE api_keys")))
    assert not await accounts.opens(secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    with pytest.raises(aio.AioRpcError) as failure:
        await accounts.opens(secret)
    assert failure.value.code() is grpc.StatusCode.UNKNOWN


async def test_hashes_of_keys_and_sessions_are_compared_in_constant_time(accounts, secret, monkeypatch):
    """What the database found counts only once a comparison that does not stop early agrees."""
    async with accounts.sessions() as sessions:
        token = (await sessions.CreateSession(session_service_pb2.CreateSessionRequest(secret=secret))).token
    accounts.clock.pass_time(seconds=MEMORY_SECONDS)
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)))  # never agrees
    assert not await accounts.opens(secret)
    assert (await accounts.check(cookie=f"forge_session={token}")).denied_response.status.code == 401
    assert [(one == other, len(one)) for one, other in compared] == [(True, 32), (True, 32)]


async def test_a_key_that_was_just_used_is_shut_out_at_once(accounts, secret):
    assert await accounts.opens(secret)
    (key,) = await accounts.store.list("default")
    await (await accounts.as_caller()).RevokeApiKey(pb2.RevokeApiKeyRequest(id=key.id))
    assert not await accounts.opens(secret)


async def test_a_key_that_another_process_revokes_is_shut_out_within_five_seconds(accounts, secret):
    assert await accounts.opens(secret)
    (key,) = await accounts.store.list("default")
    await SqlKeyStore(accounts.database).revoke("default", key.id, accounts.clock.now())
    accounts.clock.pass_time(seconds=4.9)
    assert not await accounts.opens(secret)


async def test_the_last_use_of_a_key_is_kept_to_the_minute(accounts, secret):
    for minutes in (0, 1):
        accounts.clock.pass_time(minutes=minutes)
        assert await accounts.opens(secret)
        minute = accounts.clock.now().replace(second=0, microsecond=0)
        async with asyncio.timeout(5):
            while (await accounts.store.list("default"))[0].last_used_at != minute:
                await asyncio.sleep(0.01)


async def test_a_key_that_was_refused_was_not_used(accounts, secret):
    accounts.clock.pass_time(minutes=1)
    await accounts.opens(secret[:-1] + "!")
    await accounts.uses.flush()
    assert (await accounts.store.list("default"))[0].last_used_at is None


class SulkingStore(SqlKeyStore):
    """Refuses the first write."""

    def __init__(self, database):
        super().__init__(database)
        self.written = []
        self.refused = asyncio.Event()

    async def mark_used(self, uses):
        if not self.refused.is_set():
            self.refused.set()
            raise OSError("disk full")
        self.written.append(uses)


async def test_a_use_that_could_not_be_written_is_written_later(accounts, secret):
    store = SulkingStore(accounts.database)
    key = (await accounts.store.list("default"))[0]
    async with UseLog(store, accounts.clock).kept_written() as uses:
        uses.note(key)
        await asyncio.wait_for(store.refused.wait(), 5)
    assert store.written == [{key.id: accounts.clock.now().replace(second=0)}]
