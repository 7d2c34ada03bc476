"""While nobody checks keys the edge answers nothing that a key would open, whoever asks and in whatever way."""

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from tests.e2e.access import Call, Cell, Door, all_at_once, contract_calls, page_paths, table, web_calls

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLOSED, CLOSED_NATIVELY = "503 SERVICE_UNAVAILABLE", code_pb2.Code.Name(code_pb2.UNAVAILABLE)


class Anything(dict[str, str]):
    """A name for everything."""

    def __missing__(self, variable: str) -> str:
        return "1" if variable == "number" else f"some-{variable.replace('_', '-')}"


async def test_without_accounts_everything_is_closed(
    rpcs, start_edge, other_addresses, dead_address, tmp_path, keys, services
):
    calls = [*contract_calls(rpc.method for rpc in rpcs), *web_calls()]
    offered = {"no key": None, "unknown": keys.wrong, "revoked": keys.revoked, "admin": keys.admin}

    async def cell(door: Door, call: Call, what: str, key: str | None) -> Cell:
        expected = CLOSED if call.is_http else CLOSED_NATIVELY
        return Cell(call.name, what, expected, str(await door.ask(call, key, Anything())))

    async def page(door: Door, route: str, path: str) -> Cell:
        answer = await door.http.get(path, headers={"accept": "text/html"})
        return Cell(route, "no key", "503", str(answer.status_code))

    before = len(services.calls)
    async with start_edge(tmp_path, replace(other_addresses, accounts=dead_address)) as edge:
        door = Door(edge.http, edge.grpc)
        cells = await all_at_once(cell(door, call, what, key) for call in calls for what, key in offered.items())
        cells += await all_at_once(page(door, route, path) for route, path in page_paths(Anything()))
        cells.append(Cell("reflection", "admin", CLOSED_NATIVELY, (await door.reflect(keys.admin)).code))
    assert len(cells) > 350
    if any(not cell.is_right for cell in cells):
        pytest.fail(f"the matrix is not as it must be:\n{table(cells)}", pytrace=False)
    assert len(services.calls) == before
