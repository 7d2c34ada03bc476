"""Rules of asking again a platform that does not answer, with methods that fail as told."""

from typing import Any, cast

import grpc
import pytest
from grpc import aio

from forge_cli.client import Client
from forge_cli.settings import Settings
from forge_cli.statuses import RequestFailed

REFUSED = "failed to connect to all addresses"


@pytest.fixture
async def client():
    async with aio.insecure_channel("127.0.0.1:1") as channel:
        yield Client(channel, Settings("http://127.0.0.1:1", "key"))


class Method:
    """Answers each call with the next of these: a failure's details, or the answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def __call__(self, _request: object, **_: object) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), answer)
        return answer


async def ask(client: Client, *answers: Any, **given: Any) -> Any:
    return await client.call(cast("Any", Method(*answers)), object(), **given)


async def test_a_part_that_restarts_is_waited_for(client):
    assert await ask(client, "upstream connect error", "upstream reset", 7) == 7


async def test_an_address_where_nobody_ever_listened_is_given_up_at_once(client):
    with pytest.raises(RequestFailed, match="cannot reach Forge"):
        await ask(client, REFUSED, 7)


async def test_an_edge_that_was_reached_before_is_waited_for(client):
    assert await ask(client, 1) == 1
    assert await ask(client, REFUSED, REFUSED, 7) == 7


async def test_an_edge_that_goes_away_under_a_call_is_waited_for(client):
    assert await ask(client, "Socket closed", REFUSED, 7) == 7


async def test_what_must_not_happen_twice_is_asked_for_once(client):
    with pytest.raises(RequestFailed, match="cannot answer now"):
        await ask(client, "Socket closed", 7, retry_seconds=0)
