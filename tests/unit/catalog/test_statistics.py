"""What samples say, compared with tables that anybody can look up."""

import pytest

from services.catalog.domain.statistics import median_bounds, percentile, rate_bounds


def test_a_percentile_is_the_nearest_rank() -> None:
    assert percentile([30], 50) == 30
    assert percentile([40, 10, 30, 20], 50) == 20
    assert percentile([5, 1, 3], 50) == 3
    assert percentile(range(1, 101), 95) == 95
    assert percentile(range(1, 201), 99) == 198


@pytest.mark.parametrize(("percent", "least"), [(50, 1), (95, 20), (99, 100)])
def test_a_percentile_needs_enough_samples(percent: int, least: int) -> None:
    assert percentile(range(least), percent) is not None
    assert percentile(range(least - 1), percent) is None


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(0, None), (5, None), (6, (1, 6)), (9, (2, 8)), (20, (6, 15)), (50, (18, 33)), (200, (86, 115))],
)
def test_bounds_of_a_median_are_order_statistics(count: int, ranks: tuple[int, int] | None) -> None:
    assert median_bounds([*range(count, 0, -1)]) == ranks


@pytest.mark.parametrize(
    ("successes", "attempts", "bounds"),
    [(0, 0, None), (10, 10, (0.7225, 1)), (0, 3, (0, 0.5615)), (5, 10, (0.2366, 0.7634)), (190, 200, (0.9104, 0.9726))],
)
def test_bounds_of_a_rate_are_wilsons(successes: int, attempts: int, bounds: tuple[float, float] | None) -> None:
    assert rate_bounds(successes, attempts) == (bounds and pytest.approx(bounds, abs=1e-4))
