"""Small installations, each broken in its own way, keep every promise."""

import pytest

from tests.simulation.runner import run_seeds

QUICK_SEEDS = 150
SEEDS = 1000


@pytest.mark.slow
@pytest.mark.cut_short
@pytest.mark.timeout(1200)  # a minute where two cores have nothing else to do
def test_every_seed_keeps_every_promise(request):
    seeds = SEEDS if request.config.getoption("--full-size") else QUICK_SEEDS
    broken = [result for result in run_seeds(range(seeds)) if not result.is_green]

    assert not broken, "\n\n".join(result.told() for result in broken[:3])
