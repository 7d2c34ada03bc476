"""The figures of a process as a page that Prometheus reads: OpenTelemetry's, with trace ids as exemplars."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import inf
from typing import Any

import structlog
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar

log = structlog.get_logger()

Exemplars = dict[tuple[str, tuple[str, ...], float], Exemplar]
"""The newest of each bucket: OpenTelemetry gives each out once, and more than one may read the page."""

UNITS = {"s": "seconds", "By": "bytes", "1": ""}
"""What the units of OpenTelemetry are called in the names of Prometheus."""
_TO_SECONDS = 1e9


class PageReader(MetricReader):
    """Collects when the page is read.

    The exporter of OpenTelemetry for Prometheus leaves exemplars out, so that nothing would lead from a slow call to
    its trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: MetricsData | None = None
        self._exemplars: Exemplars = {}

    def families(self) -> list[Family]:
        """What there is by now."""
        self.collect()
        found, self._found = self._found, None
        if found is None:
            return []
        metrics = [m for resource in found.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
        return [family for metric in metrics if (family := family_of(metric, self._exemplars)) is not None]

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing is held back here."""

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._found = metrics_data


class _Collector:
    def __init__(self, reader: PageReader) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Family]:
        """As the registry wants it."""
        return self._reader.families()


@contextmanager
def metrics_page(address: str, reader: PageReader) -> Iterator[None]:
    """Serve the page at "host:port" while the block runs. A port that is taken is no reason not to start."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(reader))  # pyright: ignore[reportArgumentType] — whatever has `collect`
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host, registry)
    except OSError as error:
        log.warning("no page of metrics", address=address, problem=error.strerror)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def family_of(metric: Metric, exemplars: Exemplars) -> Family | None:
    """A metric as Prometheus has it: "forge.render.wait" in "s" is forge_render_wait_seconds.

    `exemplars` are those of earlier times; the new ones are added.
    """
    unit = UNITS.get(metric.unit or "", metric.unit or "")
    name = metric.name.replace(".", "_") + (f"_{unit}" if unit else "")
    points: Sequence[Any] = list(metric.data.data_points)
    if not points:
        return None
    labels = sorted({key for point in points for key in point.attributes or {}})
    names = [label.replace(".", "_") for label in labels]
    match metric.data:
        case Histogram():
            family = HistogramMetricFamily(name, metric.description or name, labels=names)
            for point in points:
                values = _values(point, labels)
                _keep_exemplars(point, (name, tuple(values)), exemplars)
                family.add_metric(values, _buckets(point, (name, tuple(values)), exemplars), point.sum)
        case Sum() if metric.data.is_monotonic:
            family = CounterMetricFamily(name, metric.description or name, labels=names)
            for point in points:
                family.add_metric(_values(point, labels), point.value)
        case Sum() | Gauge():
            family = GaugeMetricFamily(name, metric.description or name, labels=names)
            for point in points:
                family.add_metric(_values(point, labels), point.value)
        case _:
            return None
    return family


def _values(point: NumberDataPoint | HistogramDataPoint, labels: Sequence[str]) -> list[str]:
    attributes: Mapping[str, Any] = point.attributes or {}
    return [_text(attributes.get(label, "")) for label in labels]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keep_exemplars(point: HistogramDataPoint, series: tuple[str, tuple[str, ...]], exemplars: Exemplars) -> None:
    for found in sorted(point.exemplars, key=lambda exemplar: exemplar.time_unix_nano):
        if found.trace_id:
            bound = next((bound for bound in point.explicit_bounds if found.value <= bound), inf)
            ids = {"trace_id": f"{found.trace_id:032x}"}
            exemplars[(*series, bound)] = Exemplar(ids, found.value, found.time_unix_nano / _TO_SECONDS)


def _buckets(point: HistogramDataPoint, series: tuple[str, tuple[str, ...]], exemplars: Exemplars) -> list[Any]:
    """Each bucket with how many lie in it or below, and the newest one that led to a trace."""
    bounds = [*point.explicit_bounds, inf]
    return [
        ("+Inf" if bound == inf else f"{bound}", count, exemplars.get((*series, bound)))
        for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True)
    ]
