"""A thousand small installations, each broken in its own way, keep every promise."""

import pytest

from tests.simulation.runner import run_seeds

SEEDS = 1000


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a minute where two cores have nothing else to do
def test_a_thousand_seeds_keep_every_promise():
    broken = [result for result in run_seeds(range(SEEDS)) if not result.is_green]

    assert not broken, "\n\n".join(result.told() for result in broken[:3])
