"""What placing costs in large installations, and whether it stays fair: the scheduler's own queue, shares and choice.

    python -m bench.scale [--slots 10000] [--accounts 1000] [--renders 100000]

First the CPU time of a decision, with longer queues and with larger fleets: whose turn it is, where it goes, and
noting both. Then a day in which all renders are asked for at once, by accounts of very different sizes, on a virtual
clock: renders take their time, runtimes start and make room for others, and nothing else is played. There is no
database and no worker: what those cost is measured by bench.load.
"""

import argparse
import heapq
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from services.scheduler.domain.demand import Demand, Entry
from services.scheduler.domain.durations import Span
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Fleet, Pin, Slot, SlotKind, Target
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.placement import Expectation, Situation, Take, Wait, place
from services.scheduler.domain.render import Render
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.domain.shares import Shares
from services.scheduler.usecases.queue import Queue

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEVICES = ("B200", "B300", "H100", "H200", "L40S", "RTX6000")
REGIONS = 10
VERSIONS = 20
RUN_SECONDS, START_SECONDS = (20.0, 300.0), 30.0
PINNED = 0.2
"""The share of renders that insist on a device."""


@dataclass
class House:
    """A fleet, its queue, and the time, which only goes on when nothing can be placed."""

    luck: random.Random
    occupancy: Occupancy
    queue: Queue = field(default_factory=Queue)
    shares: Shares = field(default_factory=Shares)
    now: float = 0.0
    ends: list[tuple[float, int, str, str, str]] = field(default_factory=list)
    """(when, number, account, render, runtime) of what runs."""
    free_at: dict[str, float] = field(default_factory=dict)
    """When each runtime can take the next render."""
    seconds_of: dict[str, float] = field(default_factory=dict)
    """Device time of each render."""
    account_of: dict[str, str] = field(default_factory=dict)
    used: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    waited: dict[str, float] = field(default_factory=dict)
    cpu_seconds: list[float] = field(default_factory=list)
    cold: int = 0

    def ask(self, number: int, account: str) -> None:
        """A render of the account waits."""
        pin = Pin(self.luck.choice(DEVICES)) if self.luck.random() < PINNED else Pin()
        render = Render(
            id=f"rnd_{number:07}",
            account=account,
            slug=f"model-{self.luck.randrange(VERSIONS)}",
            model_version="v1",
            created_at=NOON,
            pin=pin,
            prefer=self.luck.choice((Prefer.CHEAPEST, Prefer.FASTEST)),
        )
        self.account_of[render.id] = account
        self.seconds_of[render.id] = self.luck.uniform(*RUN_SECONDS)
        self.queue.note(render, waits=True)

    def place_all(self, at_most: int) -> int:
        """Place what can be placed now, as the dispatcher does; how many were."""
        blocked: set[Demand] = set()
        ahead: dict[Demand, int] = {}
        passed_over: list[Entry] = []
        rooms: set[SlotKind] | None = None
        placed, began = 0, time.process_time()
        while placed < at_most:
            if rooms != (rooms := self.occupancy.kinds_with_room()):
                admitted = self.occupancy.fleet.kinds_admitted
                blocked |= {d for d in self.queue.demands() if rooms.isdisjoint(admitted(d))}
            entry = self.queue.next(self.shares, blocked, ())
            if entry is None:
                break
            demand = entry.demand
            choice = place(demand, self._situation(), ahead=ahead.get(demand, 0))
            if isinstance(choice, Wait):
                if choice.is_full:
                    blocked.add(demand)
                else:
                    ahead[demand] = ahead.get(demand, 0) + 1
                    self.queue.set_aside(entry)
                    passed_over.append(entry)
                continue
            slot_id, target = (
                (choice.runtime.slot_id, choice.runtime.target)
                if isinstance(choice, Take)
                else (choice.slot.id, choice.slot.target)
            )
            start_seconds = 0.0
            if isinstance(choice, Take):
                runtime = replace(choice.runtime, render_id=entry.render_id)
            else:
                if choice.evicted is not None:
                    self.occupancy.remove(choice.evicted.id)
                runtime = Runtime(
                    id=f"rt_{len(self.cpu_seconds):07}_{slot_id}",
                    slug=demand.slug,
                    model_version=demand.model_version,
                    slot_id=slot_id,
                    target=target,
                    status=RuntimeStatus.WARM,
                    created_at=NOON,
                    last_used_at=NOON,
                    render_id=entry.render_id,
                )
                start_seconds = START_SECONDS
                self.cold += 1
            self.occupancy.put(runtime)
            self.queue.drop(entry.render_id)
            seconds = start_seconds + self.seconds_of[entry.render_id]
            self.shares.reserve(entry.render_id, entry.account, seconds, self.now)
            self.cpu_seconds.append(time.process_time() - began)
            began = time.process_time()
            self.free_at[runtime.id] = self.now + seconds
            self.waited[entry.render_id] = self.now
            heapq.heappush(
                self.ends, (self.now + seconds, len(self.cpu_seconds), entry.account, entry.render_id, runtime.id)
            )
            placed += 1
        for entry in passed_over:
            self.queue.put_back(entry)
        return placed

    def go_on(self, *, count_until: float) -> None:
        """Until the next render has ended."""
        self.now, _, account, render_id, runtime_id = heapq.heappop(self.ends)
        seconds = self.seconds_of[render_id]
        if self.now <= count_until:
            self.used[account] += seconds
        self.shares.settle(render_id, seconds, self.now)
        runtime = self.occupancy[runtime_id]
        self.occupancy.put(
            replace(runtime, render_id=None, has_run=True, last_used_at=NOON + timedelta(seconds=self.now))
        )

    def _situation(self) -> Situation:
        return Situation(
            occupancy=self.occupancy,
            vram_floor_gib=24.0,
            expectations=EXPECTED,
            lets_through=lambda _: True,
            remaining=lambda runtime: max(0.0, self.free_at[runtime.id] - self.now),
        )


TARGETS = [Target(device, f"region-{region}") for region in range(REGIONS) for device in DEVICES]
EXPECTED = {
    target: Expectation(
        run=Span(100.0 + number, 200.0 + number), start=Span(START_SECONDS, 60.0), warm_usd=0.1 + number / 1000
    )
    for number, target in enumerate(TARGETS)
}


def house(slots: int, accounts: int, renders: int, seed: str = "forge") -> House:
    """A fleet of so many slots with that queue, in which accounts ask for as much as their rank says."""
    luck = random.Random(seed)
    fleet = Fleet("made up", tuple(Slot(f"s{n}", TARGETS[n % len(TARGETS)], "cuda:0", 80.0) for n in range(slots)))
    made = House(luck, Occupancy(fleet))
    weights = [1.0 / rank for rank in range(1, accounts + 1)]
    askers = luck.choices([f"account-{n}" for n in range(accounts)], weights, k=renders)
    for number, account in enumerate(askers):
        made.ask(number, account)
    return made


def decisions(slots: int, accounts: int, renders: int, count: int) -> Iterator[str]:
    """The cost of a decision on a fleet that is full: each render that ends makes room for one that waits."""
    made = house(slots, accounts, slots + renders)
    made.place_all(slots)
    made.cpu_seconds.clear()
    for _ in range(min(count, renders)):
        made.go_on(count_until=0.0)
        made.place_all(1)
    took = sorted(made.cpu_seconds)
    yield from (f"{slots:,}", f"{accounts:,}", f"{renders:,}", f"{1e6 * statistics.median(took):.0f}")
    yield f"{1e6 * took[int(0.99 * len(took))]:.0f}"


def day(slots: int, accounts: int, renders: int) -> None:
    """Everything that was asked for, to its end."""
    made = house(slots, accounts, renders)
    size = {account: made.queue.count(account) for account in {f"account-{n}" for n in range(accounts)}}
    began = time.process_time()
    ideal = sum(made.seconds_of.values()) / slots
    window = ideal / 2
    made.place_all(renders)
    while made.ends:
        made.go_on(count_until=window)
        made.place_all(renders)
    cpu = time.process_time() - began
    waits = sorted(made.waited.values())
    ends = made.now
    # Accounts that had something to run all the time until then.
    last: defaultdict[str, float] = defaultdict(float)
    for render_id, when in made.waited.items():
        account = made.account_of[render_id]
        last[account] = max(last[account], when)
    busy = sorted(made.used[account] for account in size if last[account] > window)
    largest = max(size.values())
    print(f"{slots:,} slots, {accounts:,} accounts, {renders:,} renders at once, {largest:,} of them of one account")
    print(f"  all done after {ends / 3600:.2f} h; {ideal / 3600:.2f} h if no slot ever idled or started")
    p99 = waits[int(0.99 * len(waits))]
    print(f"  waits: median {statistics.median(waits):.0f} s, p99 {p99:.0f} s; {made.cold:,} cold starts")
    if busy:
        mean = statistics.mean(busy)
        jain = sum(busy) ** 2 / (len(busy) * sum(x * x for x in busy))
        print(
            f"  device time until half of that, of the {len(busy)} accounts that had work all the time: "
            f"least {busy[0] / mean:.2f}, most {busy[-1] / mean:.2f} of the mean; Jain's index {jain:.4f}"
        )
    print(f"  CPU: {cpu:.0f} s for {len(made.cpu_seconds):,} decisions and the clock")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=10_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--renders", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=500, help="how many are timed of each kind")
    options = parser.parse_args()
    print("| slots | accounts | renders that wait | µs a decision, median | p99 |\n|---|---|---|---|---|")
    grid = [(100, 10, n) for n in (200, 1_000, 10_000, 100_000)]
    grid += [(n, 10, 100_000) for n in (1_000, 10_000)]
    grid += [(100, n, 100_000) for n in (100, 1_000)]
    for slots, accounts, renders in [*grid, (options.slots, options.accounts, options.renders)]:
        print(f"| {' | '.join(decisions(slots, accounts, renders, options.decisions))} |", flush=True)
    print(file=sys.stdout, flush=True)
    day(options.slots, options.accounts, options.renders)


if __name__ == "__main__":
    main()
