"""Renders that wait, and whose turn it is: fairness between accounts first, then priority, then age.

What waits in the background comes after all others, and is in nobody's way: nobody counts it.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sortedcontainers import SortedList

from services.scheduler.domain.demand import Demand, Entry, entry_of
from services.scheduler.domain.render import Render
from services.scheduler.domain.shares import Shares


class Queue:
    """The renders that wait, in memory; the store remembers them. Finding the next one costs no more when more wait."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._lines: _Lines = {}
        """Those whose turn may come, by account and demand, in order."""
        self._aside: _Lines = {}
        """Those that are passed over for now."""
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
        _join(self._lines, entry)
        if entry.give_up_at is not None:
            self._ends.add((entry.give_up_at, entry.render_id))

    def drop(self, render_id: str) -> None:
        """Take a render out that no longer waits, if it is here."""
        if entry := self._entries.pop(render_id, None):
            self._remove(entry)

    def ids(self) -> set[str]:
        """Every render that waits."""
        return set(self._entries)

    def entry(self, render_id: str) -> Entry | None:
        """A render that waits."""
        return self._entries.get(render_id)

    def count(self, account: str) -> int:
        """How many renders of an account wait."""
        return sum(len(line) for where in self._both for line in where.get(account, {}).values())

    def counts(self) -> dict[Demand, int]:
        """How many renders wait, by what they ask for, without those in the background."""
        found: dict[Demand, int] = {}
        for where in self._both:
            for lines in where.values():
                for demand, line in lines.items():
                    if not demand.in_the_background:
                        found[demand] = found.get(demand, 0) + len(line)
        return found

    def oldest(self) -> datetime | None:
        """Since when the one waits that has waited longest, without those in the background."""
        waits = (entry.since for entry in self._entries.values() if not entry.demand.in_the_background)
        return min((since for since in waits if since is not None), default=None)

    def counts_of(self, demand: Demand) -> dict[str, int]:
        """How many renders of each account wait that ask for `demand`."""
        found: dict[str, int] = {}
        for where in self._both:
            for account, lines in where.items():
                if demand in lines:
                    found[account] = found.get(account, 0) + len(lines[demand])
        return found

    def overdue(self, now: datetime) -> Iterator[str]:
        """Renders that have waited too long, the longest first."""
        for when, render_id in self._ends:
            if when > now:
                return
            yield render_id

    def next(self, shares: Shares, now: float, blocked: Collection[Demand], barred: Collection[str]) -> Entry | None:
        """Whose turn it is: of the accounts that have something to run, the one below its share the most.

        Demands that are `blocked` and accounts that are `barred` are passed over. Those in the background are last.
        """
        best: tuple[bool, float, tuple[int, str]] | None = None
        for account, lines in self._lines.items():
            if account in barred:
                continue
            firsts: list[Any] = [
                (demand.in_the_background, line[0]) for demand, line in lines.items() if demand not in blocked
            ]
            if not firsts:
                continue
            is_last, first = min(firsts)
            if best is None or (is_last, shares.used(account, now), first) < best:
                best = (is_last, shares.used(account, now), first)
        return None if best is None else self._entries[best[2][1]]

    def set_aside(self, entry: Entry) -> None:
        """Pass a render over until it is put back."""
        _leave(self._lines, entry)
        _join(self._aside, entry)

    def put_back(self, entry: Entry) -> None:
        """Have a render that was set aside take part again, if it still waits."""
        if _stands_in(self._aside, entry):
            _leave(self._aside, entry)
            _join(self._lines, entry)

    def position(self, entry: Entry, rivals: Collection[Demand]) -> int:
        """About which place a render has, or would have, among those that ask for one of `rivals`; 1 is next.

        Accounts take turns, so each other account has at most as many before it as it has itself.
        """
        before, others = 0, dict[str, int]()
        for where in self._both:
            for account, lines in where.items():
                for demand, line in lines.items():
                    if demand not in rivals or demand.in_the_background > entry.demand.in_the_background:
                        continue
                    if account == entry.account:
                        before += line.bisect_left(entry.order)
                    else:
                        others[account] = others.get(account, 0) + len(line)
        return 1 + before + sum(min(waiting, before) for waiting in others.values())

    @property
    def _both(self) -> tuple["_Lines", "_Lines"]:
        return self._lines, self._aside

    def _remove(self, entry: Entry) -> None:
        _leave(self._aside if _stands_in(self._aside, entry) else self._lines, entry)
        if entry.give_up_at is not None:
            self._ends.remove((entry.give_up_at, entry.render_id))


_Lines = dict[str, dict[Demand, SortedList]]


def _stands_in(where: _Lines, entry: Entry) -> bool:
    return entry.order in where.get(entry.account, {}).get(entry.demand, ())


def _join(where: _Lines, entry: Entry) -> None:
    where.setdefault(entry.account, {}).setdefault(entry.demand, SortedList()).add(entry.order)


def _leave(where: _Lines, entry: Entry) -> None:
    lines = where[entry.account]
    lines[entry.demand].remove(entry.order)
    if not lines[entry.demand]:
        del lines[entry.demand]
    if not lines:
        del where[entry.account]
