"""Whose turn it is among those that wait: found without looking at each account, or at each that waits."""

from collections.abc import Collection

from sortedcontainers import SortedDict, SortedList

from services.scheduler.domain.demand import Demand, Entry
from services.scheduler.domain.shares import Shares

_Order = tuple[int, str]


class Lines:
    """What waits of one account: a line for each demand, and which line has the one that comes first."""

    def __init__(self) -> None:
        self._lines: dict[Demand, SortedDict] = {}
        self._firsts: SortedDict = SortedDict()
        """The first of each line, by its order."""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, entry: Entry) -> bool:
        return entry.order in self._lines.get(entry.demand, ())

    @property
    def first(self) -> Entry:
        """The one that comes first."""
        return self._firsts.peekitem(0)[1]

    def join(self, entry: Entry) -> None:
        """One more waits."""
        line = self._lines.setdefault(entry.demand, SortedDict())
        if line:
            del self._firsts[line.peekitem(0)[0]]
        line[entry.order] = entry
        self._note_first(line)

    def leave(self, entry: Entry) -> None:
        """One no longer waits. KeyError when it did not."""
        line = self._lines[entry.demand]
        first = line.peekitem(0)[0]
        del line[entry.order]
        del self._firsts[first]
        if line:
            self._note_first(line)
        else:
            del self._lines[entry.demand]

    def first_not(self, blocked: Collection[Demand]) -> Entry | None:
        """The one that comes first of those whose demand is not blocked."""
        return next((entry for entry in self._firsts.values() if entry.demand not in blocked), None)

    def count_before(self, entry: Entry, demands: Collection[Demand]) -> int:
        """How many come before it that ask for one of `demands`."""
        return sum(line.bisect_left(entry.order) for demand, line in self._lines.items() if demand in demands)

    def _note_first(self, line: SortedDict) -> None:
        order, entry = line.peekitem(0)
        self._firsts[order] = entry


class Rota:
    """The lines of all accounts, which take turns by their shares."""

    def __init__(self) -> None:
        self._lines: dict[str, Lines] = {}
        self._order: SortedList = SortedList()
        """(weight of its share, order of its first, account)."""
        self._keys: dict[str, tuple[float, _Order, str]] = {}
        self._shares: Shares | None = None

    def lines_of(self, account: str) -> Lines | None:
        """What waits of an account."""
        return self._lines.get(account)

    def join(self, entry: Entry) -> None:
        """One more waits."""
        self._lines.setdefault(entry.account, Lines()).join(entry)
        self._rank(entry.account)

    def leave(self, entry: Entry) -> None:
        """One no longer waits. KeyError when it did not."""
        lines = self._lines[entry.account]
        lines.leave(entry)
        if not lines:
            del self._lines[entry.account]
        self._rank(entry.account)

    def reorder(self, shares: Shares, changed: Collection[str]) -> None:
        """Go by these shares, of which those of some accounts have changed since the last time."""
        if shares is not self._shares:
            self._shares, changed = shares, list(self._lines)
        for account in changed:
            self._rank(account)

    def next(self, blocked: Collection[Demand], barred: Collection[str]) -> Entry | None:
        """Whose turn it is, by the shares of the last `reorder`."""
        best: tuple[float, _Order] | None = None
        found: Entry | None = None
        for weight, first, account in self._order:
            if best is not None and (weight, first) > best:
                break  # whoever comes later has used more, or waits behind
            if account in barred:
                continue
            entry = self._lines[account].first_not(blocked)
            if entry is not None and (best is None or (weight, entry.order) < best):
                best, found = (weight, entry.order), entry
        return found

    def _rank(self, account: str) -> None:
        if (key := self._keys.pop(account, None)) is not None:
            self._order.remove(key)
        lines = self._lines.get(account)
        if lines is not None and self._shares is not None:
            key = self._keys[account] = (self._shares.weight(account), lines.first.order, account)
            self._order.add(key)
