"""From measured values to a line: what something takes as a constant and a multiple of each amount, none negative."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from services.billing_estimate.domain.least_squares import Matrix, nonnegative_minimum

HALF_LIFE_SAMPLES = 50
"""After so many newer samples one weighs half."""
_TIE = 0.01  # how firmly a coefficient is held at its expected proportion: an error of 5 % against a doubt of one half
_CONSTANT_TIE = 0.03  # the same for the constant: what costs time usually grows with the work
_USUAL_SPREAD = 0.02  # relative; values that agree better than this are not told apart
_OUTLYING = 2.0  # standard deviations from which a value counts less and less


@dataclass(frozen=True)
class Observation:
    """A measured value, the amounts it goes with, and the least value that its error is relative to."""

    amounts: tuple[float, ...]
    value: float
    weight: float = 1.0
    least: float = 1.0


@dataclass(frozen=True)
class Line:
    """A constant and the multiple of each amount."""

    constant: float
    slopes: tuple[float, ...]

    def at(self, amounts: Sequence[float]) -> float:
        """Its value for these amounts."""
        return self.constant + sum(slope * amount for slope, amount in zip(self.slopes, amounts, strict=True))


def weight_of_age(samples_since: int) -> float:
    """How much a sample counts that is followed by so many newer ones."""
    return 0.5 ** (samples_since / HALF_LIFE_SAMPLES)


def fit_line(observations: Sequence[Observation], shares: Sequence[float], constant_share: float = 0.0) -> Line:
    """The line with the least relative errors, held gently at the expected proportions of its parts.

    `shares` are the proportions of the amounts' parts, `constant_share` that of the constant. With one shape measured
    the line is exactly proportional to the expectation; with several the data decide. Outliers count less: in
    the first pass those from what is expected, in the second those from the line of the first.
    """
    if not sum(shares) + constant_share > 0.0:
        shares = [1.0] * len(shares)
    expected = [constant_share + _dot(shares, each.amounts) for each in observations]
    scales = [each.value / work for each, work in zip(observations, expected, strict=True) if work > 0.0]
    if not scales or median(scales) <= 0.0:
        return Line(median(each.value for each in observations), (0.0,) * len(shares))
    usual = median(scales)
    sizes = [max(usual * work, each.least) for each, work in zip(observations, expected, strict=True)]
    weights = _sparing_outliers(observations, [usual * work for work in expected], sizes)
    line = _pass(observations, shares, constant_share, usual, weights, sizes)

    fitted = [line.at(each.amounts) for each in observations]
    sizes = [max(value, size / 10) for value, size in zip(fitted, sizes, strict=True)]
    weights = _sparing_outliers(observations, fitted, sizes)
    terms = list(zip(weights, expected, observations, sizes, strict=True))
    scale = sum(w * work * each.value / size**2 for w, work, each, size in terms) / sum(
        w * work**2 / size**2 for w, work, _, size in terms
    )
    return _pass(observations, shares, constant_share, scale, weights, sizes) if scale > 0.0 else line


def _pass(
    observations: Sequence[Observation],
    shares: Sequence[float],
    constant_share: float,
    scale: float,
    weights: Sequence[float],
    sizes: Sequence[float],
) -> Line:
    """One weighted fit. Its unknowns are multiples of what is expected, so that one tie suits all."""
    whole = scale * (constant_share + sum(shares))
    units = [whole, *(scale * share if share > 0.0 else whole for share in shares)]
    expected = [scale * constant_share / whole, *(1.0 if share > 0.0 else 0.0 for share in shares)]
    ties = [_TIE if constant_share > 0.0 else _CONSTANT_TIE, *(_TIE for _ in shares)]
    count = len(units)
    gram: Matrix = [[ties[i] if i == j else 0.0 for j in range(count)] for i in range(count)]
    pull = [tie * value for tie, value in zip(ties, expected, strict=True)]
    for each, weight, size in zip(observations, weights, sizes, strict=True):
        row = [unit * amount / size for unit, amount in zip(units, (1.0, *each.amounts), strict=True)]
        value = each.value / size
        for i in range(count):
            pull[i] += weight * row[i] * value
            for j in range(i + 1):
                gram[i][j] += weight * row[i] * row[j]
    for i in range(count):
        for j in range(i):
            gram[j][i] = gram[i][j]
    constant, *slopes = (x * unit for x, unit in zip(nonnegative_minimum(gram, pull), units, strict=True))
    return Line(constant, tuple(slopes))


def _sparing_outliers(
    observations: Sequence[Observation], fitted: Sequence[float], sizes: Sequence[float]
) -> list[float]:
    """Weights after Huber: beyond what is usual, the further off a value is, the less it counts."""
    errors = [abs(each.value - value) / size for each, value, size in zip(observations, fitted, sizes, strict=True)]
    bound = _OUTLYING * max(1.4826 * median(errors), _USUAL_SPREAD)
    return [each.weight * bound / max(error, bound) for each, error in zip(observations, errors, strict=True)]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
