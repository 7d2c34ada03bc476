"""How figures look to Prometheus, and that they lead to traces."""

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from forge_cli.stack import free_ports
from services.chassis.metrics_page import PageReader, metrics_page

OPEN = {"accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture
def page():
    """A meter, and a way to read its page."""
    reader = PageReader()
    (port,) = free_ports(1)

    def read():
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", headers=OPEN, trust_env=False).text
        return {family.name: family for family in text_string_to_metric_families(text)}

    with metrics_page(f"127.0.0.1:{port}", reader):
        yield MeterProvider([reader]).get_meter("test"), read


def values(family):
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples}


def test_counters_gauges_and_units_have_the_names_of_prometheus(page):
    meter, read = page
    meter.create_counter("forge.device.time", unit="s").add(2.5, {"gpu.type": "H200"})
    meter.create_gauge("forge.disk.free", unit="By").set(7)
    open_now = meter.create_up_down_counter("forge.watchers")
    open_now.add(3)
    open_now.add(-1)
    found = read()
    assert values(found["forge_device_time_seconds"]) == {
        ("forge_device_time_seconds_total", ("gpu_type", "H200")): 2.5
    }
    assert values(found["forge_disk_free_bytes"]) == {("forge_disk_free_bytes",): 7}
    assert (found["forge_watchers"].type, values(found["forge_watchers"])) == ("gauge", {("forge_watchers",): 2})
    assert "process_resident_memory_bytes" in {sample.name for family in found.values() for sample in family.samples}


def test_a_bucket_leads_to_the_newest_trace_in_it_however_often_the_page_is_read(page):
    meter, read = page
    wait = meter.create_histogram("forge.render.wait", unit="s", explicit_bucket_boundaries_advisory=[1.0, 10.0])
    wait.record(0.5)
    for number in (1, 2):
        context = trace.SpanContext(number, number, is_remote=True, trace_flags=trace.TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(context)):
            wait.record(5.0)
    for _ in range(2):
        samples = {sample.labels.get("le"): sample for sample in read()["forge_render_wait_seconds"].samples}
        assert [samples[bound].value for bound in ("1.0", "10.0", "+Inf")] == [1, 3, 3]
        assert samples["1.0"].exemplar is None
        assert samples["10.0"].exemplar.labels == {"trace_id": f"{2:032x}"}


def test_a_port_that_is_taken_stops_nobody():
    (port,) = free_ports(1)
    with metrics_page(f"127.0.0.1:{port}", PageReader()), metrics_page(f"127.0.0.1:{port}", PageReader()):
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).status_code == 200
