"""What the audit log adds to a call that changes something: the same calls with it and without, turn by turn.

    python -m bench.audit_cost [folder]

Two servers of the accounts service's own code, both in this process, make API keys: one commit each. One of them keeps
its calls in the audit log: noted twice, passed on and recorded, as in the service. Databases are made in the folder,
the system's temporary one unless given: it decides how long a flush to disk takes. Clients call over loopback.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from forge.accounts.v1 import account_service_pb2, account_service_pb2_grpc

from services.accounts.__main__ import MIGRATIONS
from services.accounts.adapters.hmac_hasher import HmacHasher
from services.accounts.adapters.sql_audit import SqlAuditStore
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.servicer import AccountServicer
from services.accounts.usecases.audit import AuditBook
from services.accounts.usecases.keys import Keys
from services.chassis.audit.outbox import MIGRATIONS as AUDIT_MIGRATIONS
from services.chassis.audit.shipping import audit_trail
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import Caller
from services.chassis.secret_files import SecretFile
from services.chassis.server import Mount, serving
from services.chassis.storage import sqlite_database

ONE_BY_ONE, ROUNDS, AT_ONCE = 1000, 40, 50
CALLER = Caller("default", "key_of_the_bench", frozenset({"admin"}))
CLOCK = SystemClock()
Ask = Callable[[], Any]


@asynccontextmanager
async def service(folder: Path, *, is_audited: bool) -> AsyncIterator[Ask]:
    """A server, and what makes a key there."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(sqlite_database(folder / "accounts.sqlite", MIGRATIONS))
        keys = Keys(
            SqlKeyStore(database), HmacHasher.with_pepper_in(SecretFile(folder / "pepper")), CLOCK, environment="b"
        )
        trail = None
        if is_audited:
            book = AuditBook(SqlAuditStore(database), CLOCK, keep=timedelta(days=400))
            outbox = sqlite_database(folder / "audit.sqlite3", AUDIT_MIGRATIONS)
            trail = await stack.enter_async_context(audit_trail(outbox, book, CLOCK, on_failure=lambda: None))
        mount = Mount(
            account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
            account_service_pb2_grpc.add_AccountServiceServicer_to_server,
            AccountServicer(keys),
        )
        port = await stack.enter_async_context(serving("127.0.0.1:0", [mount], grace_seconds=0, audit=trail))
        channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", CALLER))
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        yield lambda: stub.CreateApiKey(account_service_pb2.CreateApiKeyRequest(name="bench"))


async def milliseconds(*calls: Ask) -> float:
    """How long calls take that begin together, until the last has its answer."""
    began = time.perf_counter()
    await asyncio.gather(*(call() for call in calls))
    return (time.perf_counter() - began) * 1000


async def main(folder: Path) -> None:
    """Measure, and print the table."""
    async with (
        service(folder / "without", is_audited=False) as without,
        service(folder / "with", is_audited=True) as with_audit,
    ):
        print(f"{'':28} {'without':>20} {'with audit log':>20} {'added, paired':>15}")
        for label, at_once, rounds in (("one after the other", 1, ONE_BY_ONE), (f"{AT_ONCE} at once", AT_ONCE, ROUNDS)):
            pairs = []
            for turn in range(rounds + 5):
                order = (without, with_audit) if turn % 2 else (with_audit, without)
                took = {ask: await milliseconds(*[ask] * at_once) for ask in order}
                pairs.append((took[without], took[with_audit]))
            pairs = pairs[5:]  # warm by then
            plain, kept = zip(*pairs, strict=True)
            added = statistics.median(b - a for a, b in pairs)
            print(f"{label:28} {_spread(plain):>20} {_spread(kept):>20} {added:>12.2f} ms")
    print("median and 95th percentile; of many at once: until the last has its answer")


def _spread(taken: tuple[float, ...]) -> str:
    return f"{statistics.median(taken):.2f}, {statistics.quantiles(taken, n=20)[-1]:.2f} ms"


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        asyncio.run(main(Path(made)))
