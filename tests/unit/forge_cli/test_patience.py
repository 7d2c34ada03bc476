"""Rules of bearing a connection that breaks, by a clock that only these tests move."""

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.patience import Patience

TROUBLE = CommandFailed("cannot reach Forge")


class Waiting:
    """A patience of 10 s, what it slept and what it said."""

    def __init__(self, seconds: float = 10.0, draw: float = 0.5) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.said: list[str] = []
        self.patience = Patience(
            self.said.append, seconds=seconds, clock=lambda: self.now, sleep=self._sleep, draw=lambda: draw
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def until_it_ends(self) -> None:
        while True:
            await self.patience.bear(TROUBLE)


@pytest.fixture(autouse=True)
def real_pauses(monkeypatch):
    monkeypatch.setattr("forge_cli.patience._PAUSES_SECONDS", (0.1, 0.3, 1.0, 2.0))


async def test_a_break_is_borne_for_so_long_and_then_its_trouble_is_raised():
    waiting = Waiting(seconds=10)
    with pytest.raises(CommandFailed) as raised:
        await waiting.until_it_ends()
    assert raised.value is TROUBLE
    assert waiting.now == pytest.approx(1010)


async def test_pauses_grow_up_to_a_bound():
    waiting = Waiting(seconds=60)
    with pytest.raises(CommandFailed):
        await waiting.until_it_ends()
    assert waiting.pauses[:6] == [0.1, 0.3, 1.0, 2.0, 2.0, 2.0]
    assert max(waiting.pauses) == 2.0


async def test_many_who_lost_a_connection_do_not_come_back_at_the_same_moment():
    early, late = Waiting(draw=0.0), Waiting(draw=1.0)
    for waiting in (early, late):
        await waiting.patience.bear(TROUBLE)
    assert (early.pauses, late.pauses) == ([0.05], [pytest.approx(0.15)])


async def test_a_short_break_is_nobodys_business():
    waiting = Waiting()
    for _ in range(2):
        await waiting.patience.bear(TROUBLE)
    waiting.patience.heard()
    assert waiting.said == []


async def test_people_hear_once_of_a_break_that_lasts_and_once_that_it_is_over():
    waiting = Waiting()
    for _ in range(5):
        await waiting.patience.bear(TROUBLE)
    assert waiting.said == ["cannot reach Forge; trying again for 9.60 s"]
    for _ in range(3):
        waiting.patience.heard()
    assert waiting.said[1:] == ["connected again"]


async def test_a_break_that_is_over_does_not_count_towards_the_next():
    waiting = Waiting(seconds=10)
    for _ in range(4):
        await waiting.patience.bear(TROUBLE)
    waiting.now += 3600
    waiting.patience.heard()
    waiting.now += 3600
    await waiting.patience.bear(TROUBLE)
    assert waiting.pauses[-1] == 0.1


async def test_without_patience_the_first_trouble_is_raised():
    with pytest.raises(CommandFailed):
        await Waiting(seconds=0).patience.bear(TROUBLE)
