"""A real accounts server on a real SQLite file, with a clock the tests own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
import sqlalchemy as sa
from envoy_ext_authz.v3 import external_auth_pb2 as envoy_pb2
from envoy_ext_authz.v3 import external_auth_pb2_grpc as envoy_rpc
from forge.accounts.v1 import account_service_pb2_grpc as rpc
from forge.accounts.v1 import session_service_pb2_grpc
from grpc import aio

from services.accounts.__main__ import MIGRATIONS, mounts
from services.accounts.adapters.hmac_hasher import HmacHasher
from services.accounts.adapters.remembering_key_store import RememberingKeyStore
from services.accounts.adapters.sql_audit import SqlAuditStore
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.audit_servicer import audit_mounts
from services.accounts.rates import RateLimit
from services.accounts.usecases.audit import AuditBook
from services.accounts.usecases.guard import Guard
from services.accounts.usecases.keys import Keys
from services.accounts.usecases.rate_limits import RateLimits
from services.accounts.usecases.sessions import Sessions
from services.accounts.usecases.use_log import UseLog
from services.chassis.audit.outbox import MIGRATIONS as AUDIT_MIGRATIONS
from services.chassis.audit.shipping import audit_trail
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import Caller, service_caller
from services.chassis.secret_files import SecretFile
from services.chassis.server import serving
from services.chassis.storage import Database
from tests.databases import OpenDatabase

KEPT = timedelta(days=400)
TOKEN = "a-token-of-the-operators-own-choice_0"
"""What the installation's settings name; a key only where a test makes it one."""
INSTALLATION_LIMIT = RateLimit(requests_per_second=100, burst=200)


@dataclass
class StoppedClock(SystemClock):
    """A clock that moves when told."""

    at: datetime = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def pass_time(self, **duration: float) -> None:
        self.at += timedelta(**duration)


@dataclass
class Accounts:
    """The running service and ways to call it."""

    address: str
    database: Database
    store: RememberingKeyStore
    keys: Keys
    uses: UseLog
    guard: Guard
    clock: StoppedClock
    audit: AuditBook
    stack: AsyncExitStack
    channels: dict[Caller, aio.Channel] = field(default_factory=dict)

    async def as_caller(self, account: str = "default", *scopes: str) -> Any:
        """A stub that calls as the edge would for a key of `account` with `scopes`."""
        caller = Caller(account, "key_of_the_caller", frozenset(scopes or ("admin",)))
        if caller not in self.channels:
            self.channels[caller] = await self.stack.enter_async_context(channel_to(self.address, caller))
        return rpc.AccountServiceStub(self.channels[caller])

    @asynccontextmanager
    async def sessions(self) -> AsyncIterator[Any]:
        """A stub that calls as the console does."""
        async with channel_to(self.address, service_caller("web")) as channel:
            yield session_service_pb2_grpc.SessionServiceStub(channel)

    async def check(
        self, *, method: str = "GET", host: str = "forge.example", access: str = "", **headers: str
    ) -> envoy_pb2.CheckResponse:
        """Ask as Envoy does."""
        request = envoy_pb2.CheckRequest()
        request.attributes.context_extensions["access"] = access
        request.attributes.request.http.method = method
        request.attributes.request.http.host = host
        request.attributes.request.http.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
        async with aio.insecure_channel(self.address) as channel:
            return await envoy_rpc.AuthorizationStub(channel).Check(request)

    async def stored(self) -> bytes:
        """Every value of every table."""

        def values(connection: sa.Connection) -> list[object]:
            names = sa.inspect(connection).get_table_names()
            queries = [sa.select(sa.text("*")).select_from(sa.table(name)) for name in names]
            return [value for query in queries for row in connection.execute(query) for value in row]

        found = await self.database.read(values)
        return b"".join(value if isinstance(value, bytes) else str(value).encode() for value in found)

    async def opens(self, secret: str) -> bool:
        """Whether a key lets a request pass."""
        return (await self.check(authorization=f"Bearer {secret}")).HasField("ok_response")


@pytest_asyncio.fixture
async def accounts(tmp_path: Path, open_database_of_all: OpenDatabase) -> AsyncIterator[Accounts]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database_of_all(tmp_path / "accounts.sqlite", MIGRATIONS))
        clock = StoppedClock()
        store = RememberingKeyStore(SqlKeyStore(database), clock)
        hasher = HmacHasher.with_pepper_in(SecretFile(tmp_path / "pepper"))
        keys = Keys(store, hasher, clock, environment="test")
        uses = await stack.enter_async_context(UseLog(store, clock).kept_written())
        guard = Guard(store, store, hasher, uses, RateLimits(INSTALLATION_LIMIT, clock), clock, token=TOKEN)
        served = mounts(keys, Sessions(store, guard, hasher, clock), guard)
        book = AuditBook(SqlAuditStore(database), clock, keep=KEPT)
        trail = await stack.enter_async_context(
            audit_trail(
                open_database_of_all(tmp_path / "accounts-audit.sqlite3", AUDIT_MIGRATIONS),
                book,
                clock,
                on_failure=lambda: None,
            )
        )
        port = await stack.enter_async_context(
            serving("127.0.0.1:0", [*served, *audit_mounts(book)], grace_seconds=0, audit=trail)
        )
        yield Accounts(f"127.0.0.1:{port}", database, store, keys, uses, guard, clock, book, stack)
