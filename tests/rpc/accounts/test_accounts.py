"""Further accounts, which the operator of the machine makes."""

import pytest
from forge.accounts.v1 import account_service_pb2 as pb2
from grpc import aio

from services.chassis.errors import InvalidInput


async def test_an_account_begins_with_an_admin_key_that_opens_the_running_edge(accounts):
    secret = await accounts.keys.open_account("studio-b", another_key=False)
    key = await accounts.guard.key_with(secret)
    assert (key.account, key.scopes) == ("studio-b", {"admin"})
    assert await accounts.opens(secret)


async def test_an_account_whose_key_works_gets_another_only_when_it_is_asked_for(accounts):
    first = await accounts.keys.open_account("studio-b", another_key=False)
    assert await accounts.keys.open_account("studio-b", another_key=False) is None
    second = await accounts.keys.open_account("studio-b", another_key=True)
    assert second != first
    assert await accounts.opens(first)
    assert await accounts.opens(second)


async def test_an_account_that_is_locked_out_is_opened_again(accounts):
    secret = await accounts.keys.open_account("studio-b", another_key=False)
    key = await accounts.guard.key_with(secret)
    await (await accounts.as_caller("studio-b")).RevokeApiKey(pb2.RevokeApiKeyRequest(id=key.id))
    assert await accounts.keys.open_account("studio-b", another_key=False)


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 64, "a_b", "é", "forge-internal", "forge-x", "a\n"])
async def test_a_name_that_is_none_makes_no_account(name, accounts):
    with pytest.raises(InvalidInput, match="name: must"):
        await accounts.keys.open_account(name, another_key=False)
    assert await accounts.keys.accounts() == []


async def test_accounts_are_listed_with_how_many_of_their_keys_work(accounts):
    for name in ("b", "a"):
        await accounts.keys.open_account(name, another_key=False)
        accounts.clock.pass_time(seconds=1)
    second = await accounts.keys.open_account("a", another_key=True)
    key = await accounts.guard.key_with(second)
    await (await accounts.as_caller("a")).RevokeApiKey(pb2.RevokeApiKeyRequest(id=key.id))
    found = await accounts.keys.accounts()
    assert [(account.name, account.working_keys, account.keys) for account in found] == [("a", 1, 2), ("b", 1, 1)]


async def test_accounts_see_and_touch_only_their_own_keys(accounts):
    """Every call of the service that takes or gives a key, asked for another account's."""
    await accounts.keys.open_account("a", another_key=False)
    (theirs,) = await accounts.store.list("a")
    other = await accounts.as_caller("b")
    assert list((await other.ListApiKeys(pb2.ListApiKeysRequest())).api_keys) == []
    for call in (
        other.RevokeApiKey(pb2.RevokeApiKeyRequest(id=theirs.id)),
        other.RotateApiKey(pb2.RotateApiKeyRequest(id=theirs.id)),
    ):
        with pytest.raises(aio.AioRpcError, match="API key"):
            await call
    assert await accounts.store.list("a") == [theirs]
