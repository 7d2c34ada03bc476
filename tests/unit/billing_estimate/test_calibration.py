"""How far estimates were off."""

from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.billing_estimate.adapters.otel_meters import OtelMeters
from services.billing_estimate.domain.calibration import Outcome, by_target, calibrate
from services.billing_estimate.domain.targets import Target

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _outcome(actual: float, minute: int = 0, p90: float | None = 12.0, gpu_type: str = "H200") -> Outcome:
    return Outcome("a-model", "v1", Target(gpu_type, "eu"), NOON + timedelta(minutes=minute), actual, 10.0, p90)


def test_errors_are_medians_and_p90_is_kept_by_a_share() -> None:
    calibration = calibrate([_outcome(8.0), _outcome(12.5), _outcome(11.0), _outcome(11.0, p90=None)])
    assert calibration.sample_count == 4
    assert calibration.median_absolute_error == pytest.approx((0.2 + 1 / 11) / 2)
    assert calibration.median_error == pytest.approx(0.1)
    assert calibration.share_within_p90 == pytest.approx(2 / 3)


def test_only_the_newest_hundred_count() -> None:
    outcomes = [_outcome(20.0, minute) for minute in range(50)] + [_outcome(10.0, 50 + minute) for minute in range(100)]
    calibration = calibrate(outcomes)
    assert (calibration.sample_count, calibration.median_error) == (100, 0.0)


def test_before_the_first_render_nothing_is_claimed() -> None:
    calibration = calibrate([])
    assert (calibration.sample_count, calibration.median_error, calibration.share_within_p90) == (0, None, None)


def test_each_version_and_target_has_a_calibration_of_its_own() -> None:
    found = by_target([_outcome(10.0), _outcome(20.0, gpu_type="B200"), _outcome(10.0)])
    assert [(each.target, each.sample_count) for each in found] == [
        (Target("B200", "eu"), 1),
        (Target("H200", "eu"), 2),
    ]


def test_errors_are_metered_by_version_and_target() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    meters = OtelMeters(provider.get_meter("test"))
    meters.estimate_was_off(_outcome(12.0), simulated=True)
    meters.calibrated(calibrate([_outcome(8.0)]))
    meters.calibrated(by_target([_outcome(8.0)])[0])
    meters.calibrated(calibrate([]))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {each.name: each.data.data_points for each in data.resource_metrics[0].scope_metrics[0].metrics}
    (error,) = metrics["forge.estimate.error"]
    where = {"slug": "a-model", "version": "v1", "gpu_type": "H200", "region": "eu"}
    assert dict(error.attributes or {}) == where | {"simulated": True}
    gauges = metrics["forge.estimate.median_absolute_error"]
    assert sorted((dict(point.attributes or {}) for point in gauges), key=len) == [{}, where]
    provider.shutdown()
