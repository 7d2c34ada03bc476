"""A simulation that does not notice what is broken would prove nothing."""

import pytest

from tests.simulation.runner import run_seed
from tests.simulation.sabotage import LET_GIVEN_UP_ATTEMPTS_GO_ON, SABOTAGES, ZOMBIES, Sabotage

MOST_SEEDS = 200


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=str)
def test_a_broken_promise_is_noticed(sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch):
    sabotage.do(monkeypatch.setattr)

    noticed: list[str] = []
    for seed in range(MOST_SEEDS):
        result = run_seed(seed, kinds=sabotage.under)
        if result.promise and result.promise in sabotage.promises:
            return
        if not result.is_green:
            noticed.append(f"{seed}: {result.what}")
    pytest.fail(f"not noticed in {MOST_SEEDS} seeds; only {noticed}")


def test_the_fence_alone_keeps_out_attempts_that_go_on_although_they_were_given_up(monkeypatch: pytest.MonkeyPatch):
    LET_GIVEN_UP_ATTEMPTS_GO_ON(monkeypatch.setattr)

    assert not [result.what for seed in range(40) if (result := run_seed(seed, kinds=ZOMBIES)).promise == "8"]
