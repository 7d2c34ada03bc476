"""Who may ask for what: every public RPC, over REST and natively, every route of the web, with every kind of key."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import pytest
from forge.common.v1 import access_pb2
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio

from services.accounts.__main__ import MIGRATIONS
from services.accounts.adapters.hmac_hasher import HmacHasher
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.config import Settings
from services.accounts.domain import new_secret
from services.accounts.usecases.keys import Keys
from services.chassis.audit.contract import audited_names
from services.chassis.clock import SystemClock
from services.chassis.identity import IMPLIED_SCOPES, Caller
from services.chassis.ids import new_id
from services.chassis.secret_files import SecretFile
from services.chassis.storage import sqlite_database
from tests.e2e.access import (
    WEB_SCOPES,
    Answer,
    Call,
    Cell,
    Door,
    all_at_once,
    contract_calls,
    page_paths,
    table,
    web_calls,
    web_routes,
)
from tests.platforms import SVD, Platform, eventually
from tests.receivers import receiving

# What belongs to an account, by the name that paths have for it: the reason for whoever may not know of it.
OWNED = {
    "render_id": "RENDER_NOT_FOUND",
    "video_id": "VIDEO_NOT_FOUND",
    "webhook_id": "WEBHOOK_NOT_FOUND",
    "delivery_id": "DELIVERY_NOT_FOUND",
    "id": "API_KEY_NOT_FOUND",
    "upload_id": "UPLOAD_NOT_FOUND",
}
# What is said to whoever was let in and has asked for something that is not there, or for nothing.
ADMITTED = {"PREVIEW_NOT_READY", "NO_ESTIMATE", "INVALID_INPUT"}
SHARED = {"slug", "probe_id", "number"}
# They show what an account did itself, which may have been asking for what is another's.
OWN_DOINGS = {"GET /v1/audit-events", "AuditService.ListAuditEvents"}
# Pages of an account: a visitor is asked to sign in. All others show a visitor what everybody may see.
PAGES_OF_AN_ACCOUNT = {"/renders", "/renders/{render_id}", "/account", "/models/{slug}/history"}
A_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


@dataclass(frozen=True)
class Town:
    """Two accounts on one platform: the first with one of everything, the second with a key."""

    names: dict[str, str]
    """What belongs to the first account, and what belongs to all, by the names that paths have."""
    keys: dict[str, str | None]
    """Secrets that open nothing, by what is wrong with them."""
    reader: str
    reader_id: str
    inferer: str
    stranger: str

    @property
    def owned(self) -> dict[str, str]:
        return {variable: name for variable, name in self.names.items() if variable in OWNED}

    def lesser_keys(self, scope: str) -> dict[str, str]:
        """Keys that do not include a scope, by their own."""
        held = {"read": self.reader, "inference": self.inferer}
        return {own: key for own, key in held.items() if scope not in IMPLIED_SCOPES[own]}


@pytest.fixture(scope="module")
def town(platform: Platform) -> Iterator[Town]:
    stranger = json.loads(platform.forge("accounts", "create", "somebody-else", "--json").stdout)["secret"]
    expired = asyncio.run(an_expired_key(platform))
    with platform.client() as rest, receiving() as receiver:

        def made(path: str, body: dict) -> dict:
            answer = rest.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def key(name: str, *scopes: str) -> dict:
            return made("/v1/api-keys", {"name": name, "scopes": scopes})

        reader, inferer, revoked = key("reader", "read"), key("inferer", "inference"), key("revoked", "admin")
        assert rest.delete(f"/v1/api-keys/{revoked['api_key']['id']}").status_code == 200
        webhook = made("/v1/webhooks", {"url": receiver.url})["webhook"]
        probe = made("/v1/probes", {"slug": SVD, "gpu_type": "H200", "region": "eu-north2"})["probes"][0]
        rest.post(f"/v1/probes/{probe['id']}/cancel")
        render = made(f"/v1/inference/{SVD}", platform.small(SVD))
        assert render["status"] == "succeeded", render
        upload = rest.post("/v1/uploads", content=A_PIXEL, headers={"content-type": "image/png"}).json()
        waiting = eventually(lambda: rest.get("/v1/webhook-deliveries").json()["deliveries"], what="the delivery")
        yield Town(
            names={
                "slug": SVD,
                "number": "1",
                "probe_id": probe["id"],
                "render_id": render["id"],
                "video_id": render["id"],
                "webhook_id": webhook["id"],
                "delivery_id": waiting[0]["id"],
                "id": inferer["api_key"]["id"],
                "upload_id": upload["id"],
            },
            keys={
                "no key": None,
                "malformed": "not-a-key",
                "mistyped": platform.key[:-1] + ("0" if platform.key[-1] != "0" else "1"),
                "unknown": new_secret("local"),
                "expired": expired,
                "revoked": revoked["secret"],
            },
            reader=reader["secret"],
            reader_id=reader["api_key"]["id"],
            inferer=inferer["secret"],
            stranger=stranger,
        )
        rest.delete(f"/v1/webhooks/{webhook['id']}")


class AnHourAgo(SystemClock):
    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


async def an_expired_key(platform: Platform) -> str:
    """The secret of an admin key that worked for a minute, an hour ago."""
    settings = Settings(home=platform.home)
    async with sqlite_database(settings.database_path, MIGRATIONS) as database:
        hasher = HmacHasher.with_pepper_in(SecretFile(settings.pepper_path))
        keys = Keys(SqlKeyStore(database), hasher, AnHourAgo(), environment="local")
        owner = Caller("default", "key_of_an_hour_ago", frozenset({"admin"}))
        return (await keys.create(owner, "expired", ["admin"], timedelta(minutes=1))).secret


@asynccontextmanager
async def door_of(platform: Platform) -> AsyncIterator[Door]:
    async with (
        httpx.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http,
        aio.insecure_channel(platform.url.removeprefix("http://")) as channel,
    ):
        yield Door(http, channel)


@pytest.fixture(scope="module")
def calls(methods) -> list[Call]:
    """Everything that a key may open."""
    return [*contract_calls(methods), *web_calls()]


@pytest.fixture(scope="module")
def methods(rpcs) -> list[MethodDescriptor]:
    """Every RPC that a key may call."""
    return [rpc.method for rpc in rpcs]


def as_expected(cells: list[Cell]) -> None:
    """Fail with the rows of the matrix that are not as they must be."""
    assert cells
    if any(not cell.is_right for cell in cells):
        pytest.fail(f"the matrix is not as it must be:\n{table(cells)}", pytrace=False)


def refused(call: Call) -> str:
    return "401 UNAUTHENTICATED" if call.is_http else "UNAUTHENTICATED UNAUTHENTICATED"


def not_allowed(call: Call) -> str:
    return "403 MISSING_SCOPE" if call.is_http else "PERMISSION_DENIED MISSING_SCOPE"


def unknown(call: Call) -> str:
    reason = next(OWNED[variable] for variable in call.variables if variable in OWNED)
    return f"404 {reason}" if call.is_http else f"NOT_FOUND {reason}"


def is_about_an_account(call: Call) -> bool:
    return any(variable in OWNED for variable in call.variables)


def test_everything_that_is_offered_is_in_the_matrix(calls):
    assert len(calls) > 90
    for call in calls:
        strange = set(call.variables) - OWNED.keys() - SHARED
        assert not strange, f"{call.name}: say whether {strange} belongs to an account"
    by_the_contract = {(call.verb, call.path) for call in calls if call.is_http}
    for verb, route in web_routes():
        if route.path.startswith("/v1/") and route.endpoint.__name__ != "unknown":
            assert (verb, route.path) in by_the_contract | WEB_SCOPES.keys(), (
                f"say which scope {verb} {route.path} needs"
            )


async def test_no_call_is_open_to_a_key_that_does_not_work(platform, town, calls):
    async def cell(door: Door, call: Call, what: str, key: str | None) -> Cell:
        return Cell(call.name, what, refused(call), str(await door.ask(call, key, town.names)))

    async with door_of(platform) as door:
        cells = await all_at_once(cell(door, call, what, key) for call in calls for what, key in town.keys.items())
    as_expected(cells)


async def test_no_call_is_open_to_a_key_without_its_scope(platform, town, calls):
    async def cell(door: Door, call: Call, scope: str, key: str) -> Cell:
        return Cell(call.name, f"only {scope}", not_allowed(call), str(await door.ask(call, key, town.names)))

    async with door_of(platform) as door:
        cells = await all_at_once(
            cell(door, call, scope, key) for call in calls for scope, key in town.lesser_keys(call.scope).items()
        )
    as_expected(cells)


async def test_what_may_be_read_can_be_read_with_the_scope_for_it(platform, town, calls):
    """Without this a platform that refuses everything would be taken for a safe one."""

    async def cell(door: Door, call: Call) -> Cell:
        answer = await door.ask(call, town.reader, town.names)
        good = answer.code in ("200", "OK") or answer.reason in ADMITTED
        return Cell(call.name, "read", "good", "good" if good else str(answer))

    async with door_of(platform) as door:
        as_expected(await all_at_once(cell(door, call) for call in calls if call.scope == "read"))


async def test_what_belongs_to_another_account_cannot_be_told_from_what_is_not_there(platform, town, calls):
    nowhere = town.names | {variable: new_id(name.partition("_")[0]) for variable, name in town.owned.items()}

    def plain(answer: Answer, names: dict[str, str]) -> str:
        text = answer.text
        for variable in OWNED:
            text = text.replace(names[variable], "its-name")
        return f"{answer} {text}"

    async def cells_of(door: Door, call: Call) -> list[Cell]:
        theirs = await door.ask(call, town.stranger, town.names)
        nothing = await door.ask(call, town.stranger, nowhere)
        return [
            Cell(call.name, "another account's", unknown(call), str(theirs)),
            Cell(call.name, "what is not there", unknown(call), str(nothing)),
            Cell(
                call.name,
                "difference",
                "none",
                "none" if plain(theirs, town.names) == plain(nothing, nowhere) else theirs.text,
            ),
        ]

    async with door_of(platform) as door:
        found = await asyncio.gather(*(cells_of(door, call) for call in calls if is_about_an_account(call)))
    as_expected([cell for cells in found for cell in cells])


async def test_no_list_and_no_page_shows_what_belongs_to_another_account(platform, town, calls):
    def shown(answer: Answer) -> str:
        told = sorted(variable for variable, name in town.owned.items() if name in answer.text)
        return f"{answer.code} with {told}"

    async def cell(door: Door, call: Call) -> Cell:
        answer = await door.ask(call, town.stranger, town.names)
        code = "200" if call.is_http else "OK"
        expected = answer.code if answer.reason in ADMITTED else code
        return Cell(call.name, "to another account", f"{expected} with []", shown(answer))

    async with door_of(platform) as door:
        as_expected(
            await all_at_once(
                cell(door, call)
                for call in calls
                if not is_about_an_account(call) and not call.changes_something and call.name not in OWN_DOINGS
            )
        )


async def test_pages_ask_strangers_to_sign_in_and_show_nobody_what_is_anothers(platform, town):
    expected = {"signed in elsewhere": town.stranger, **town.keys}

    async def cell(door: Door, route: str, path: str, what: str, key: str | None) -> Cell:
        headers = {"accept": "text/html"} | ({} if key is None else {"authorization": f"Bearer {key}"})
        answer = await door.http.get(path, headers=headers)
        told = sorted(variable for variable, name in town.owned.items() if name in answer.text and name not in path)
        is_theirs = route in PAGES_OF_AN_ACCOUNT
        if what == "signed in elsewhere":
            code = 404 if route == "/renders/{render_id}" else 200
        else:
            code = 303 if is_theirs else 200
        return Cell(route, what, f"{code} with []", f"{answer.status_code} with {told}")

    async with door_of(platform) as door:
        as_expected(
            await all_at_once(
                cell(door, route, path, what, key)
                for route, path in page_paths(town.names)
                for what, key in expected.items()
            )
        )


async def test_reflection_needs_a_key_that_works(platform, town):
    async with door_of(platform) as door:
        cells = [
            Cell("reflection", what, "UNAUTHENTICATED UNAUTHENTICATED", str(await door.reflect(key)))
            for what, key in town.keys.items()
        ]
        assert (await door.reflect(town.reader)).code == "OK"
    as_expected(cells)


async def test_every_call_that_was_refused_for_its_scope_is_in_the_audit_log(platform, town, calls, methods):
    """No service can offer an audited RPC without keeping its calls."""
    offered = {
        f"{method.containing_service.full_name}/{method.name}": method
        for method in methods
        if method.GetOptions().Extensions[access_pb2.audited]
    }
    assert offered.keys() <= set(audited_names())
    async with door_of(platform) as door:
        await all_at_once(
            refusal(door, call, town) for call in calls if call.changes_something and call.method is not None
        )

        async def kept() -> set[str]:
            headers = {"authorization": f"Bearer {platform.key}"}
            found: set[str] = set()
            token = ""
            while True:
                asked = {"api_key_id": town.reader_id, "page_size": 100, "page_token": token}
                page = (await door.http.get("/v1/audit-events", params=asked, headers=headers)).json()
                found |= {event["method"] for event in page["events"] if event["outcome"] == "MISSING_SCOPE"}
                if not (token := page["next_page_token"]):
                    return found

        deadline = time.monotonic() + 10
        while (missing := offered.keys() - await kept()) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert not missing


async def refusal(door: Door, call: Call, town: Town) -> Cell:
    return Cell(call.name, "only read", not_allowed(call), str(await door.ask(call, town.reader, town.names)))
