"""How good estimates are, as OpenTelemetry metrics."""

from opentelemetry.metrics import Meter

from services.billing_estimate.domain.calibration import Calibration, Outcome

_BOUNDS = [-0.5, -0.25, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0]


class OtelMeters:
    """The instruments of this service on a meter."""

    def __init__(self, meter: Meter) -> None:
        self._errors = meter.create_histogram(
            "forge.estimate.error",
            unit="1",
            description="actual / estimated - 1 of the device time of renders that succeeded in one go",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        self._median_absolute_error = meter.create_gauge(
            "forge.estimate.median_absolute_error",
            unit="1",
            description="median of |actual - estimated| / actual over the newest such renders",
        )

    def estimate_was_off(self, outcome: Outcome, *, simulated: bool) -> None:
        """Record the error of one estimate."""
        attributes = {
            "slug": outcome.slug,
            "version": outcome.version,
            "gpu_type": outcome.target.gpu_type,
            "region": outcome.target.region,
            "simulated": simulated,
        }
        self._errors.record(outcome.error, attributes)

    def calibrated(self, calibration: Calibration) -> None:
        """Show the newest calibration, of a version on a target or over everything."""
        if calibration.median_absolute_error is None:
            return
        attributes: dict[str, str] = {}
        if calibration.target is not None:
            attributes = {
                "slug": calibration.slug,
                "version": calibration.version,
                "gpu_type": calibration.target.gpu_type,
                "region": calibration.target.region,
            }
        self._median_absolute_error.set(calibration.median_absolute_error, attributes)
