"""How much the services take: renders accepted, looked at, listed, watched and placed, and estimates, a second.

    python -m bench.load [--rounds 3] [--seconds 5] [--callers 16]

The real services run on this machine, their workers only keep time. Callers speak gRPC to the services themselves, each
asking again as soon as it is answered; the edge is not in between. The tables are files of SQLite, then in a real
PostgreSQL with one scheduler, then with two, and all of that again in each round: the first line of each kind is the
baseline of the others.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from forge.billing.v1 import billing_estimate_service_pb2 as billing_pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as billing_rpc
from forge.scheduler.v1 import render_service_pb2 as pb
from forge.scheduler.v1 import render_service_pb2_grpc as rpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from grpc import aio

from bench.scripted_platform import SLOTS, SLUG, Platform, scripted_platform
from services.chassis.clients import channel
from tests.postgresql import a_postgresql

ACCOUNTS = 16
STEPS_WITHOUT_END, SHORT_STEP_SECONDS = 400_000, 0.01
LONG_STEPS, LONG_STEP_SECONDS = 9_000, 0.9
QUICK_STEPS, QUICK_STEP_SECONDS = 1, 0.0


@dataclass
class Row:
    """What one kind of call came to."""

    tables: str
    schedulers: int
    kind: str
    seconds: float
    took: list[float] = field(default_factory=list)
    """Seconds that each call took."""
    scheduler_cpu: list[float] = field(default_factory=list)
    """CPU seconds of each scheduler, the busiest first."""
    database_cpu: float = 0.0
    wal_bytes: int = 0
    """What PostgreSQL wrote to its log."""
    count: int = 0
    """How many there were, where nobody waited for each."""

    @property
    def number(self) -> int:
        """How many calls were answered, or what else is counted."""
        return self.count or len(self.took)

    @property
    def per_second(self) -> float:
        """That, by time."""
        return self.number / self.seconds

    def add(self, other: "Row") -> None:
        """Count what came of another round too."""
        self.seconds += other.seconds
        self.took += other.took
        self.scheduler_cpu = [a + b for a, b in zip(self.scheduler_cpu, other.scheduler_cpu, strict=True)]
        self.database_cpu += other.database_cpu
        self.wal_bytes += other.wal_bytes
        self.count += other.count

    def cells(self, baseline: "Row") -> list[str]:
        """As a line of the table."""
        ordered = sorted(self.took)
        calls = max(1, self.number)
        is_on_postgresql = self.tables != "SQLite"
        return [
            self.tables,
            str(self.schedulers),
            self.kind,
            f"{self.per_second:.0f}",
            f"{self.per_second / baseline.per_second:.2f}",
            f"{1000 * statistics.median(ordered):.1f}" if ordered else "",
            f"{1000 * ordered[int(0.99 * len(ordered))]:.1f}" if ordered else "",
            f"{1000 * sum(self.scheduler_cpu) / calls:.2f}",
            " + ".join(f"{cpu / self.seconds:.0%}" for cpu in self.scheduler_cpu),
            f"{1000 * self.database_cpu / calls:.2f}" if is_on_postgresql else "",
            f"{self.wal_bytes / calls / 1000:.1f}" if is_on_postgresql else "",
        ]


COLUMNS = [
    "tables",
    "schedulers",
    "",
    "a second",
    "× baseline",
    "p50 ms",
    "p99 ms",
    "scheduler CPU ms each",
    "schedulers busy",
    "PostgreSQL CPU ms each",
    "kB it logs each",
]

Call = Callable[[int], Awaitable[object]]


class Callers:
    """Accounts that ask the services themselves."""

    def __init__(self, scheduler: aio.Channel, billing: aio.Channel) -> None:
        self._renders: Any = rpc.RenderServiceStub(scheduler)
        self._billing: Any = billing_rpc.BillingEstimateServiceStub(billing)
        self.accepted: list[tuple[int, str]] = []

    async def accept(self, caller: int, steps: int = LONG_STEPS, step_seconds: float = LONG_STEP_SECONDS) -> str:
        """Have a render accepted."""
        seed = steps * 10_000 + round(step_seconds * 1000)
        request = pb.CreateRenderRequest(input=_struct(model=SLUG, prompt="a cat", seed=seed))
        render = await self._renders.CreateRender(request, metadata=_as(caller))
        self.accepted.append((caller, render.id))
        return render.id

    async def look(self, caller: int) -> None:
        """Look at a render that waits."""
        account, render_id = self.accepted[(997 * caller + int(time.monotonic() * 1000)) % len(self.accepted)]
        await self._renders.GetRender(pb.GetRenderRequest(render_id=render_id), metadata=_as(account))

    async def last_seq(self, caller: int, render_id: str) -> int:
        """The number of the newest event of a render."""
        request = pb.GetRenderRequest(render_id=render_id)
        return (await self._renders.GetRender(request, metadata=_as(caller))).last_seq

    async def end(self, caller: int, render_id: str) -> None:
        """Cancel a render, and wait until it has told all."""
        await self._renders.CancelRender(pb.CancelRenderRequest(render_id=render_id), metadata=_as(caller))
        await self.follow(caller, render_id)

    async def list(self, caller: int) -> None:
        """List the newest fifty of an account."""
        await self._renders.ListRenders(pb.ListRendersRequest(page_size=50), metadata=_as(caller))

    async def estimate(self, caller: int) -> None:
        """Ask what inputs would take that nobody has asked of before."""
        request = billing_pb.EstimateInputRequest(
            slug=SLUG, input=_struct(prompt="a cat", num_inference_steps=1 + time.monotonic_ns() % 100)
        )
        await self._billing.EstimateInput(request, metadata=_as(caller))

    async def complete(self, caller: int) -> None:
        """Have a render accepted that takes no time, and follow it to its end."""
        await self.follow(caller, await self.accept(caller, QUICK_STEPS, QUICK_STEP_SECONDS))

    async def follow(self, caller: int, render_id: str) -> int:
        """Watch a render from its first event to its last."""
        request = pb.WatchRenderRequest(render_id=render_id)
        return len([event async for event in self._renders.WatchRender(request, metadata=_as(caller))])


def _struct(**fields: Any) -> Struct:
    return ParseDict(fields, Struct())


def _as(caller: int) -> tuple[tuple[str, str], ...]:
    account = f"account-{caller % ACCOUNTS}"
    return (
        ("x-forge-account", account),
        ("x-forge-key-id", f"key-of-{account}"),
        ("x-forge-scopes", "inference"),
    )


class Measuring:
    """Runs calls for a while and reads what the processes took meanwhile."""

    def __init__(self, tables: str, url: str | None, platform: Platform, options: argparse.Namespace) -> None:
        self._tables = tables
        self._url = url
        self._platform = platform
        self._options = options

    async def calls(self, kind: str, call: Call) -> Row:
        """Have every caller ask again and again."""
        await asyncio.gather(*(call(caller) for caller in range(self._options.callers)))  # nobody is new any more
        row = self._row(kind)
        with self._metered(row):
            until = time.monotonic() + self._options.seconds

            async def ask(caller: int) -> None:
                while (at := time.monotonic()) < until:
                    await call(caller)
                    row.took.append(time.monotonic() - at)

            await asyncio.gather(*(ask(caller) for caller in range(self._options.callers)))
        return row

    async def events(self, kind: str, callers: "Callers") -> Row:
        """Have every slot run a render whose steps take hardly any time, and count what is written of them."""
        running = [(n, await callers.accept(n, STEPS_WITHOUT_END, SHORT_STEP_SECONDS)) for n in range(SLOTS)]
        await asyncio.sleep(2)
        row, before = self._row(kind), [await callers.last_seq(*render) for render in running]
        with self._metered(row):
            await asyncio.sleep(self._options.seconds)
            after = [await callers.last_seq(*render) for render in running]
        row.count = sum(after) - sum(before)
        await asyncio.gather(*(callers.end(*render) for render in running))
        return row

    def _row(self, kind: str) -> Row:
        return Row(self._tables, len(self._platform.schedulers), kind, self._options.seconds)

    @contextmanager
    def _metered(self, row: Row) -> Iterator[None]:
        """Note in the row what is used while the block runs."""
        (schedulers_before, database_before), logged_before = self._cpu(), self._logged()
        began = time.monotonic()
        yield
        row.seconds = time.monotonic() - began
        schedulers, database = self._cpu()
        used = [after - before for after, before in zip(schedulers, schedulers_before, strict=True)]
        row.scheduler_cpu = sorted(used, reverse=True)
        row.database_cpu, row.wal_bytes = database - database_before, self._logged() - logged_before

    def _logged(self) -> int:
        """How many bytes PostgreSQL has logged so far."""
        if self._url is None:
            return 0
        with psycopg.connect(self._url) as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0

    def _cpu(self) -> tuple[list[float], float]:
        """CPU seconds of each scheduler so far, and of all processes of PostgreSQL."""
        schedulers = [_cpu_seconds(process) for process in self._platform.schedulers]
        postgres = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres"]
        return schedulers, sum(map(_cpu_seconds, postgres))


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


async def measured(tables: str, url: str | None, platform: Platform, options: argparse.Namespace) -> list[Row]:
    """Every kind of call on one platform."""
    measuring = Measuring(tables, url, platform, options)
    there = platform.addresses
    async with channel(there["scheduler"]) as scheduler, channel(there["billing-estimate"]) as billing:
        callers = Callers(scheduler, billing)
        rows = [await measuring.calls("placed, rendered in no time, watched", callers.complete)]
        rows.append(await measuring.events("events of renders that run", callers))
        callers.accepted.clear()
        await asyncio.sleep(1)
        for number in range(SLOTS):  # from here on whatever is accepted waits
            await callers.accept(number)
        await asyncio.sleep(3)
        rows.append(await measuring.calls("accepted", callers.accept))
        rows.append(await measuring.calls("looked at while it waits", callers.look))
        rows.append(await measuring.calls("list of 50", callers.list))
        rows.append(await measuring.calls("estimate of new inputs", callers.estimate))
    return rows


def platforms(options: argparse.Namespace) -> Iterator[tuple[str, str | None, Platform]]:
    """Each platform, one after the other, in every round."""
    for tables, schedulers in (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2)) * options.rounds:
        if options.only and f"{tables} {schedulers}" not in options.only:
            continue
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forge-load-")))
            url = stack.enter_context(a_postgresql()).url if tables == "PostgreSQL" else None
            print(f"{tables}, {schedulers} scheduler(s)", file=sys.stderr)
            yield tables, url, stack.enter_context(scripted_platform(home, database_url=url, schedulers=schedulers))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each kind of call is asked for in a round")
    parser.add_argument("--callers", type=int, default=16, help="how many ask at the same time")
    parser.add_argument("--only", action="append", default=[], help='"SQLite 1", "PostgreSQL 1" or "PostgreSQL 2"')
    options = parser.parse_args()
    found: dict[tuple[str, str, int], Row] = {}
    for tables, url, platform in platforms(options):
        for row in asyncio.run(measured(tables, url, platform, options)):
            print(f"  {' | '.join(row.cells(row))}", file=sys.stderr)
            key = row.kind, row.tables, row.schedulers
            if key in found:
                found[key].add(row)
            else:
                found[key] = row
    baselines: dict[str, Row] = {}
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in sorted(found.values(), key=lambda row: row.kind):  # stable: the baseline stays the first of its kind
        print(f"| {' | '.join(row.cells(baselines.setdefault(row.kind, row)))} |")


if __name__ == "__main__":
    main()
