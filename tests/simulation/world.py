"""One simulation: everything put together, run to its end, and judged."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from services.scheduler.adapters.sql_runtimes import SqlRuntimeStore
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.assembly import Assembly, assembled
from tests.simulation import promises
from tests.simulation.customers import Customer
from tests.simulation.database import Disk, SimulatedDatabase
from tests.simulation.device import Temper
from tests.simulation.evidence import Commit, Evidence
from tests.simulation.machines import Machines
from tests.simulation.nemesis import KINDS, Blow, strike
from tests.simulation.network import Network
from tests.simulation.objects import Objects
from tests.simulation.processes import Process
from tests.simulation.record import Broken, Record
from tests.simulation.remote_workers import RemoteWorkers
from tests.simulation.scenario import Scenario, drawn
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_time import Ids, SimulatedClock, VirtualLoop

_AFTERMATH_SECONDS = 3.0


@dataclass(frozen=True)
class Outcome:
    """How a seed went."""

    seed: int
    fingerprint: str
    virtual_seconds: float
    renders: int
    broken: Broken | None
    record: Record


class World:
    """All parts of a simulation. Each draws from randomness of its own, so that one does not disturb the others."""

    def __init__(self, seed: int, kinds: Sequence[str] = KINDS) -> None:
        self.loop = VirtualLoop()
        self.time = self.loop.time
        self.record = Record(self.time)
        self.scenario: Scenario = drawn(Random(f"{seed}/scenario"), kinds)
        self.slots = self.scenario.fleet.slots
        self.evidence = Evidence(self.record, self.time)
        self.disk = Disk(Random(f"{seed}/disk"), self.record)
        self.objects = Objects(Random(f"{seed}/objects"), self.record)
        self.network = Network(self.loop, Random(f"{seed}/network"), self.record)
        self.temper = Temper(Random(f"{seed}/devices"), self.scenario.load_seconds, self.scenario.step_seconds)
        self.temper.runs_out_of_memory = self.scenario.runs_out_of_memory
        self.machines = Machines(
            self.loop,
            Random(f"{seed}/machines"),
            self.record,
            self.objects,
            self.temper,
            self.scenario.libraries_differ,
            self.scenario.policy.lease_seconds,
        )
        steps = max(wish.body["num_inference_steps"] for wish in self.scenario.wishes)
        self.expected_seconds = 1.0 + steps * self.scenario.step_seconds
        """What a render is expected to take, as the estimates have it."""
        self.surroundings = Surroundings(
            request_seconds=self.expected_seconds,
            start_seconds=self.scenario.load_seconds,
            max_run_seconds=10 * self.expected_seconds,
        )
        self.scheduler = SchedulerHost(self.loop, Random(f"{seed}/scheduler"), self.record, self._assemble)
        self.is_disturbed = False
        """Whether the network failed, or the scheduler was held up: either may be taken for the death of a worker."""
        self.branched_after: dict[str, int] = {}
        """The step at which each branch left the render it was made from."""
        self.passed_over: dict[str, int] = {}
        """How many leases in a row went to others while an account was behind."""
        self.clients: dict[str, Process] = {}
        self._new_id = Ids()
        self._seed = seed
        self._alarm: asyncio.Future[None] = self.loop.create_future()
        self.disk.on_commit = self.evidence.look
        self.evidence.on_commit.append(self._judge)

    def run(self) -> Outcome:
        """Live through it. Never raises Broken: the outcome says it."""
        gc.freeze()  # what was there before is not looked at again
        gc.disable()  # what is forgotten when must not depend on what the interpreter did before
        broken: Broken | None = None
        try:
            trouble = self.loop.run_until_complete(self._live())
            for promise in promises.PROMISES:
                promise(self, None)
            if trouble is not None:
                raise Broken("0", f"{type(trouble).__name__}: {trouble}")
        except Broken as error:
            broken = error
        finally:
            self.record.is_closed = True
            self.loop.run_until_complete(self._dispose())
            self.loop.close()
            gc.unfreeze()
            gc.enable()
        return Outcome(self._seed, self.record.fingerprint(), self.time(), len(self.evidence.rows), broken, self.record)

    async def _live(self) -> BaseException | None:
        """Let everything happen. What a client met that has no name is returned. Raises Broken."""
        supervisor = asyncio.create_task(self.scheduler.supervise())
        customers = [
            self._client(wish.account).spawn(
                Customer(
                    wish,
                    self.scheduler,
                    self.network,
                    Random(f"{self._seed}/{wish.key}"),
                    self.evidence,
                    self.record,
                ).run()
            )
            for wish in self.scenario.wishes
        ]
        blows = {asyncio.create_task(strike(self, blow)): blow for blow in self.scenario.blows}
        served = asyncio.create_task(self._all_served(customers, blows))
        tasks = [served, supervisor, *blows]
        try:
            async with asyncio.timeout(self.scenario.calm_at + self.scenario.patience_seconds):
                await asyncio.wait({served, self._alarm, supervisor}, return_when=asyncio.FIRST_COMPLETED)
            if self.evidence.broken is not None:
                raise self.evidence.broken
            return served.exception() if served.done() else None
        except TimeoutError:
            left = ", ".join(self.evidence.unsettled()) or "none, but a client waits for an answer"
            raise Broken("1", f"did not end although nothing is broken any more: {left}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _all_served(self, customers: "list[asyncio.Task[None]]", blows: "dict[asyncio.Task[None], Blow]") -> None:
        """Wait until every customer has what it wanted, every render is settled, and all that was broken is mended.

        What comes back late, for example a worker that was held up, must find that it changes nothing any more.
        """
        await asyncio.gather(*customers)
        while self.evidence.unsettled():
            await asyncio.sleep(1.0)
        await asyncio.gather(*(task for task, blow in blows.items() if blow.at <= self.time()))
        await asyncio.sleep(_AFTERMATH_SECONDS)

    def _judge(self, commit: Commit) -> None:
        row = commit.row
        if commit.before is None and row["branch_of"]:
            self.branched_after[row["id"]] = self.evidence.paused_steps[row["branch_of"]]
        try:
            for promise in promises.PROMISES:
                promise(self, commit)
        except Exception:
            if not self._alarm.done():
                self._alarm.set_result(None)
            raise

    def _assemble(self, clock: SimulatedClock, on_failure: Callable[[], None]) -> AbstractAsyncContextManager[Assembly]:
        database = SimulatedDatabase(self.disk)
        return assembled(
            fleet=self.scenario.fleet,
            store=SqlRenderStore(database, clock),
            runtime_store=SqlRuntimeStore(database),
            placer=self.machines,
            workers=RemoteWorkers(self.machines, self.network),
            catalog=self.surroundings,
            estimates=self.surroundings,
            videos=self.objects,
            checkpoints=self.objects,
            checker=self.surroundings,
            images=self.surroundings,
            spans=self.surroundings,
            clock=clock,
            policy=self.scenario.policy,
            new_id=self._new_id,
            on_failure=on_failure,
        )

    def _client(self, account: str) -> Process:
        if account not in self.clients:
            self.clients[account] = Process(self.loop, f"client {account}")
        return self.clients[account]

    def stored_rows(self) -> list[str]:
        """The renders in the store, asked directly."""
        return [name for (name,) in self.disk.file.execute("select id from renders")]

    def stored_logs(self) -> dict[str, list[str]]:
        """The logs in the store, asked directly."""
        logs: dict[str, list[str]] = {}
        for render_id, text in self.disk.file.execute("select render_id, body from render_events order by rowid"):
            logs.setdefault(render_id, []).append(text)
        return logs

    async def _dispose(self) -> None:
        self.loop.is_over = True
        workers = [worker.process for worker in self.machines.workers.values()]
        everybody = [*self.clients.values(), *workers, *self.scheduler.processes]
        for process in everybody:
            process.is_alive = False
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with warnings.catch_warnings(action="ignore"):  # nobody is told of what they leave undone
                for process in everybody:
                    process.dispose()
                gc.collect()
        finally:
            sys.unraisablehook = hook
