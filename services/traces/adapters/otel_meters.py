"""What becomes of spans, as OpenTelemetry metrics."""

from opentelemetry.metrics import Meter


class OtelMeters:
    """The instruments of this service on a meter."""

    def __init__(self, meter: Meter) -> None:
        self._kept = meter.create_counter("forge.spans.kept", description="Spans written to the span store")
        self._dropped = meter.create_counter(
            "forge.spans.dropped", description="Spans that were not written or not passed on"
        )

        for why in ("too_many", "store_unavailable", "not_passed_on"):
            self._dropped.add(0, {"why": why})  # an increase shows only in a series that was there before

    def kept(self, spans: int) -> None:
        """So many were written."""
        self._kept.add(spans)

    def dropped(self, spans: int, why: str) -> None:
        """So many were not."""
        self._dropped.add(spans, {"why": why})
