"""A secret of the operator's choice as a key."""

from forge.accounts.v1 import account_service_pb2 as pb2

from tests.rpc.accounts.conftest import TOKEN


async def working(accounts):
    now = accounts.clock.now()
    return [key for key in await accounts.store.list("default") if key.works_at(now)]


async def test_the_token_of_the_settings_is_a_key_with_the_usual_scopes(accounts):
    assert not await accounts.opens(TOKEN)
    await accounts.keys.take_token(TOKEN)
    assert await accounts.opens(TOKEN)
    (key,) = await working(accounts)
    assert (key.name, key.prefix, key.scopes) == ("token of the settings", TOKEN[:6], {"read", "inference"})
    assert TOKEN.encode() not in await accounts.stored()


async def test_no_other_secret_without_the_form_of_a_key_is_even_looked_for(accounts, monkeypatch):
    await accounts.keys.take_token(TOKEN)
    looked_for = []
    monkeypatch.setattr(accounts.store, "find", looked_for.append)
    for secret in (TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "0" * 64):
        assert not await accounts.opens(secret)
    assert looked_for == []


async def test_told_again_at_each_start_it_stays_one_key(accounts):
    for _ in range(3):
        await accounts.keys.take_token(TOKEN)
    assert len(await accounts.store.list("default")) == 1


async def test_another_token_takes_its_place(accounts):
    await accounts.keys.take_token("an-earlier-one-that-is-long-enough")
    await accounts.keys.take_token(TOKEN)
    (key,) = await working(accounts)
    assert key.prefix == TOKEN[:6]
    await accounts.keys.take_token(TOKEN)
    assert await accounts.opens(TOKEN)


async def test_one_that_was_revoked_stays_so_whatever_the_settings_say(accounts):
    await accounts.keys.take_token(TOKEN)
    (key,) = await working(accounts)
    await (await accounts.as_caller()).RevokeApiKey(pb2.RevokeApiKeyRequest(id=key.id))
    await accounts.keys.take_token(TOKEN)
    assert not await accounts.opens(TOKEN)
    assert await working(accounts) == []
