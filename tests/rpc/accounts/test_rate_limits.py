"""Rate limits of keys, as Envoy is told of them."""

import base64
import json

import pytest
from forge.accounts.v1 import account_service_pb2 as pb2
from forge.accounts.v1 import api_key_pb2, session_service_pb2
from google.rpc import error_details_pb2, status_pb2


def headers_of(options) -> dict[str, str]:
    return {option.header.key: option.header.value for option in options if not option.header.key.startswith("x-")}


@pytest.fixture
async def made(accounts):
    return await (await accounts.as_caller()).CreateApiKey(
        pb2.CreateApiKeyRequest(name="narrow", rate_limit=api_key_pb2.RateLimit(requests_per_second=0.5, burst=2))
    )


@pytest.fixture
def bearer(made) -> dict[str, str]:
    return {"authorization": f"Bearer {made.secret}"}


async def test_a_key_passes_as_often_as_its_burst_and_then_waits(accounts, bearer):
    for _ in range(2):
        assert (await accounts.check(**bearer)).HasField("ok_response")
    refusal = (await accounts.check(**bearer)).denied_response
    assert refusal.status.code == 429
    accounts.clock.pass_time(seconds=2)
    assert (await accounts.check(**bearer)).HasField("ok_response")
    assert (await accounts.check(**bearer)).denied_response.status.code == 429


async def test_every_answer_says_how_the_limit_stands(accounts, bearer):
    answers = [(await accounts.check(**bearer)).ok_response.response_headers_to_add for _ in range(2)]
    assert [headers_of(answer) for answer in answers] == [
        {"ratelimit-limit": "2", "ratelimit-remaining": "1", "ratelimit-reset": "2"},
        {"ratelimit-limit": "2", "ratelimit-remaining": "0", "ratelimit-reset": "4"},
    ]
    accounts.clock.pass_time(seconds=0.5)
    assert headers_of((await accounts.check(**bearer)).denied_response.headers) == {
        "ratelimit-limit": "2",
        "ratelimit-remaining": "0",
        "ratelimit-reset": "4",  # 3.5 s, rounded so that nobody comes too early
        "retry-after": "2",
        "content-type": "application/json",
    }


async def test_a_refusal_says_in_the_words_of_the_contract_when_to_come_back(accounts, bearer):
    for _ in range(2):
        await accounts.check(**bearer)
    accounts.clock.pass_time(seconds=0.5)
    body = json.loads((await accounts.check(**bearer)).denied_response.body)
    assert (body["code"], body["details"][0]["reason"]) == (8, "RATE_LIMITED")
    assert body["details"][1]["retry_delay"] == "1.500s"
    native = (await accounts.check(content_type="application/grpc", **bearer)).denied_response
    status = status_pb2.Status.FromString(base64.b64decode(headers_of(native.headers)["grpc-status-details-bin"]))
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5


async def test_a_session_counts_for_its_key(accounts, made, bearer):
    async with accounts.sessions() as sessions:
        begun = await sessions.CreateSession(session_service_pb2.CreateSessionRequest(secret=made.secret))
    cookie = {"cookie": f"forge_session={begun.token}"}
    assert (await accounts.check(**cookie)).HasField("ok_response")
    assert (await accounts.check(access="public", **cookie)).HasField("ok_response")
    for shown in (cookie, bearer):
        assert (await accounts.check(**shown)).denied_response.status.code == 429


async def test_keys_do_not_share_a_limit_and_without_their_own_have_that_of_the_installation(accounts, bearer):
    for _ in range(3):
        await accounts.check(**bearer)
    other = await (await accounts.as_caller()).CreateApiKey(pb2.CreateApiKeyRequest(name="wide"))
    passed = await accounts.check(authorization=f"Bearer {other.secret}")
    assert headers_of(passed.ok_response.response_headers_to_add)["ratelimit-limit"] == "200"
    assert not other.api_key.HasField("rate_limit")


async def test_a_successor_of_a_rotation_counts_for_itself(accounts, made, bearer):
    for _ in range(3):
        await accounts.check(**bearer)
    rotated = await (await accounts.as_caller()).RotateApiKey(pb2.RotateApiKeyRequest(id=made.api_key.id))
    assert await accounts.opens(rotated.secret)


async def test_who_is_not_known_is_told_of_no_limit(accounts):
    assert not (await accounts.check(access="public")).ok_response.response_headers_to_add
    assert "ratelimit-limit" not in headers_of((await accounts.check()).denied_response.headers)


async def test_a_refused_request_is_no_use_of_the_key(accounts):
    limit = api_key_pb2.RateLimit(requests_per_second=0.01, burst=1)
    made = await (await accounts.as_caller()).CreateApiKey(pb2.CreateApiKeyRequest(name="rare", rate_limit=limit))
    used_at = accounts.clock.now().replace(second=0)
    assert await accounts.opens(made.secret)
    accounts.clock.pass_time(minutes=1)
    assert not await accounts.opens(made.secret)
    await accounts.uses.flush()
    (key,) = await accounts.store.list("default")
    assert key.last_used_at == used_at


async def test_a_burst_that_nobody_names_is_what_comes_in_two_seconds(accounts):
    stub = await accounts.as_caller()
    for rate, burst in ((5.0, 10), (0.1, 1), (0.75, 2)):
        limit = api_key_pb2.RateLimit(requests_per_second=rate)
        made = await stub.CreateApiKey(pb2.CreateApiKeyRequest(name="a key", rate_limit=limit))
        assert made.api_key.rate_limit == api_key_pb2.RateLimit(requests_per_second=rate, burst=burst)
