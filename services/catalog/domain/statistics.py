"""What samples say of what they are samples of."""

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""Standard deviations around the mean that hold 95 in 100 of a normal distribution."""

_LEAST_SAMPLES = {50: 1, 95: 20, 99: 100}
"""With fewer, the percentile would be the largest sample, whatever the truth is."""


def percentile(samples: Sequence[int], percent: int) -> int | None:
    """The nearest-rank percentile: 50, 95 or 99. None with too few samples to tell."""
    if len(samples) < _LEAST_SAMPLES[percent]:
        return None
    return sorted(samples)[math.ceil(percent / 100 * len(samples)) - 1]


def median_bounds(samples: Sequence[int]) -> tuple[int, int] | None:
    """Bounds that the true median lies between with at least 95 % confidence; None with fewer than 6 samples.

    They are samples: each is above the true median with a chance of one half, so how many are is binomial.
    """
    count, rank, below = len(samples), 0, 0.0
    while True:
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
        rank += 1
    return (sorted(samples)[rank - 1], sorted(samples)[count - rank]) if rank else None


def rate_bounds(successes: int, attempts: int) -> tuple[float, float] | None:
    """Bounds that the true rate lies between with 95 % confidence, by Wilson; None without attempts."""
    if not attempts:
        return None
    rate, weight = successes / attempts, Z_95**2 / attempts
    centre = rate + weight / 2
    margin = Z_95 * math.sqrt(rate * (1 - rate) / attempts + weight / (4 * attempts))
    return round((centre - margin) / (1 + weight), 9), round((centre + margin) / (1 + weight), 9)
