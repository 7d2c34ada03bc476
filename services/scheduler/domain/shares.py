"""Who has used how much of the devices lately."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping

HALF_LIFE_SECONDS = 600.0
"""How long until used time counts half: long enough to take turns, short enough to forgive."""


class Shares:
    """Device time by account. What is used counts less as time goes by, and what is being run counts in advance.

    The account with the least goes first, so that each gets the same share of the devices while it has work, and one
    that comes late is not behind those that were there all the time.
    """

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}
        """By account: seconds, and the moment they were counted for."""
        self._reserved: dict[str, tuple[str, float]] = {}
        """By render: its account, and the seconds it is expected to take in all."""
        self._changed: set[str] = set()

    def used(self, account: str, now: float) -> float:
        """Seconds of device time that count for the account at the monotonic moment `now`."""
        seconds, at = self._used.get(account, (0.0, now))
        return seconds * math.exp2(-(now - at) / HALF_LIFE_SECONDS)

    def weight(self, account: str) -> float:
        """A number that is the higher, the more counts for an account, at whatever moment: it stays while time goes by.

        What was used is halved in the same time for all; this is the logarithm of what it was before that began.
        """
        seconds, at = self._used.get(account, (0.0, 0.0))
        return math.log2(seconds) + at / HALF_LIFE_SECONDS if seconds > 0 else -math.inf

    def changed(self) -> set[str]:
        """The accounts of which something else counts than at the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def reserve(self, render_id: str, account: str, seconds: float, now: float) -> None:
        """A render of the account begins that is expected to take so long."""
        self.settle(render_id, None, now)
        self._reserved[render_id] = account, seconds
        self._add(account, seconds, now)

    def settle(self, render_id: str, seconds: float | None, now: float) -> None:
        """The render's attempt has ended after so long; None when it never ran."""
        if render_id in self._reserved:
            account, expected = self._reserved.pop(render_id)
            self._add(account, (seconds or 0.0) - expected, now)

    def remember(self, account: str, seconds: float, seconds_ago: float, now: float) -> None:
        """The account used so much a while ago, before anybody counted."""
        self._add(account, seconds * math.exp2(-seconds_ago / HALF_LIFE_SECONDS), now)

    def of_all(self, now: float) -> dict[str, float]:
        """Seconds that count for each account, what is being run included."""
        return {account: self.used(account, now) for account in self._used}

    def take_over(self, used: Mapping[str, float], now: float) -> None:
        """Know that these seconds count for the accounts, and nothing else."""
        self._changed |= self._used.keys() | used.keys()
        self._used = {account: (seconds, now) for account, seconds in used.items()}
        self._reserved = {}

    def _add(self, account: str, seconds: float, now: float) -> None:
        self._changed.add(account)
        self._used[account] = (max(0.0, self.used(account, now) + seconds), now)


DAY_SECONDS = 86_400.0


class Day:
    """Device time by account in the last 24 hours. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._spent: defaultdict[str, deque[tuple[float, float]]] = defaultdict(deque)

    def spent(self, account: str, now: float) -> float:
        """Seconds the account used in the 24 hours before `now`."""
        return sum(seconds for _, seconds in self._since_yesterday(account, now))

    def add(self, account: str, seconds: float, at: float) -> None:
        """The account used so much up to the moment `at`."""
        if seconds > 0:
            self._since_yesterday(account, at).append((at, seconds))

    def seconds_until_some_is_free(self, account: str, now: float) -> float:
        """How long until the oldest use no longer counts."""
        spent = self._spent[account]
        return spent[0][0] + DAY_SECONDS - now if spent else 0.0

    def of_all(self, now: float) -> dict[str, tuple[float, float]]:
        """Of each account the seconds it used, and how long until the oldest use no longer counts."""
        accounts = list(self._spent)
        return {
            account: (spent, self.seconds_until_some_is_free(account, now))
            for account in accounts
            if (spent := self.spent(account, now))
        }

    def take_over(self, spent: Mapping[str, tuple[float, float]], now: float) -> None:
        """Know of this use and no other; all that an account used counts as long as its oldest."""
        self._spent.clear()
        for account, (seconds, until_free) in spent.items():
            self.add(account, seconds, now - DAY_SECONDS + until_free)

    def _since_yesterday(self, account: str, now: float) -> deque[tuple[float, float]]:
        spent = self._spent[account]
        while spent and spent[0][0] <= now - DAY_SECONDS:
            spent.popleft()
        return spent
