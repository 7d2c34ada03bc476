"""Renders that wait, and whose turn it is: fairness between accounts first, then priority, then age.

What waits in the background comes after all others, and is in nobody's way: nobody counts it.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sortedcontainers import SortedList

from services.scheduler.domain.demand import Demand, Entry, entry_of
from services.scheduler.domain.render import Render
from services.scheduler.domain.rota import Lines, Rota
from services.scheduler.domain.shares import Shares


class Queue:
    """The renders that wait, in memory; the store remembers them. Finding the next one costs no more when more wait."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._rotas = {False: Rota(), True: Rota()}
        """Those whose turn may come: in the foreground, and in the background."""
        self._aside: dict[str, Lines] = {}
        """Those that are passed over for now, by account."""
        self._counts: Counter[Demand] = Counter()
        self._counts_by_account: dict[str, Counter[Demand]] = {}
        self._foreground: Counter[str] = Counter()
        """How many of each account do not wait in the background."""
        self._ends: SortedList = SortedList()
        """(when, render id) of those that are given up some day."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, render_id: str) -> bool:
        return render_id in self._entries

    def note(self, render: Render, *, waits: bool) -> None:
        """Put a render where it belongs: among those that wait, or not."""
        self.drop(render.id)
        if not waits:
            return
        entry = entry_of(render)
        self._entries[entry.render_id] = entry
        self._rotas[entry.demand.in_the_background].join(entry)
        self._count(entry, 1)
        if entry.give_up_at is not None:
            self._ends.add((entry.give_up_at, entry.render_id))

    def drop(self, render_id: str) -> None:
        """Take a render out that no longer waits, if it is here."""
        entry = self._entries.get(render_id)
        if entry is None:
            return
        if self._is_aside(entry):
            self._take_back(entry)
        else:
            self._rotas[entry.demand.in_the_background].leave(entry)
        del self._entries[render_id]
        self._count(entry, -1)
        if entry.give_up_at is not None:
            self._ends.remove((entry.give_up_at, render_id))

    def ids(self) -> set[str]:
        """Every render that waits."""
        return set(self._entries)

    def entry(self, render_id: str) -> Entry | None:
        """A render that waits."""
        return self._entries.get(render_id)

    def count(self, account: str) -> int:
        """How many renders of an account wait."""
        return self._counts_by_account.get(account, Counter()).total()

    def demands(self) -> Collection[Demand]:
        """Whatever those that wait ask for."""
        return self._counts.keys()

    def counts(self) -> dict[Demand, int]:
        """How many renders wait, by what they ask for, without those in the background."""
        return {demand: count for demand, count in self._counts.items() if not demand.in_the_background}

    def oldest(self) -> datetime | None:
        """Since when the one waits that has waited longest, without those in the background."""
        waits = (entry.since for entry in self._entries.values() if not entry.demand.in_the_background)
        return min((since for since in waits if since is not None), default=None)

    def counts_of(self, demand: Demand) -> dict[str, int]:
        """How many renders of each account wait that ask for `demand`."""
        return {account: counts[demand] for account, counts in self._counts_by_account.items() if demand in counts}

    def overdue(self, now: datetime) -> Iterator[str]:
        """Renders that have waited too long, the longest first."""
        for when, render_id in self._ends:
            if when > now:
                return
            yield render_id

    def next(self, shares: Shares, blocked: Collection[Demand], barred: Collection[str]) -> Entry | None:
        """Whose turn it is: of the accounts that have something to run, the one below its share the most.

        Demands that are `blocked` and accounts that are `barred` are passed over. Those in the background are last.
        """
        if all(demand in blocked for demand in self._counts):
            return None
        changed = shares.changed()
        for rota in self._rotas.values():
            rota.reorder(shares, changed)
        return self._rotas[False].next(blocked, barred) or self._rotas[True].next(blocked, barred)

    def set_aside(self, entry: Entry) -> None:
        """Pass a render over until it is put back."""
        self._rotas[entry.demand.in_the_background].leave(entry)
        self._aside.setdefault(entry.account, Lines()).join(entry)

    def put_back(self, entry: Entry) -> None:
        """Have a render that was set aside take part again, if it still waits."""
        if self._is_aside(entry):
            self._take_back(entry)
            self._rotas[entry.demand.in_the_background].join(entry)

    def position(self, entry: Entry, rivals: Collection[Demand]) -> int:
        """About which place a render has, or would have, among those that ask for one of `rivals`; 1 is next.

        Accounts take turns, so each other account has at most as many before it as it has itself.
        """
        in_the_background = entry.demand.in_the_background
        asked = [demand for demand in self._counts if in_the_background or not demand.in_the_background]
        relevant = {demand for demand in asked if demand in rivals}
        mine = [*(rota.lines_of(entry.account) for rota in self._rotas.values()), self._aside.get(entry.account)]
        before = sum(lines.count_before(entry, relevant) for lines in mine if lines is not None)
        if not before:
            return 1
        if len(relevant) < len(asked):
            waiting = {
                account: sum(count for demand, count in counts.items() if demand in relevant)
                for account, counts in self._counts_by_account.items()
            }
        elif in_the_background:
            waiting = {account: counts.total() for account, counts in self._counts_by_account.items()}
        else:
            waiting = self._foreground
        return 1 + before + sum(min(n, before) for account, n in waiting.items() if account != entry.account)

    def _count(self, entry: Entry, change: int) -> None:
        mine = self._counts_by_account.setdefault(entry.account, Counter())
        counted: list[tuple[Counter[Any], Any]] = [(self._counts, entry.demand), (mine, entry.demand)]
        if not entry.demand.in_the_background:
            counted.append((self._foreground, entry.account))
        for counter, what in counted:
            counter[what] += change
            if not counter[what]:
                del counter[what]
        if not mine:
            del self._counts_by_account[entry.account]

    def _is_aside(self, entry: Entry) -> bool:
        return entry.account in self._aside and entry in self._aside[entry.account]

    def _take_back(self, entry: Entry) -> None:
        self._aside[entry.account].leave(entry)
        if not self._aside[entry.account]:
            del self._aside[entry.account]
