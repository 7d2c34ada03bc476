"""One running platform for all tests here, with the fleet of the pages and somebody who collects its traces."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import av
import grpc
import httpx
import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.platforms import SVD, Platform, running
from tests.platforms import eventually as poll


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP endpoint that remembers every span."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        """(service name, span) in the order of arrival."""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 — the protocol's name
        for group in request.resource_spans:
            attributes = {a.key: a.value.string_value for a in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [(attributes.get("service.name", ""), span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace_id]


@dataclass
class TracedPlatform(Platform):
    """A platform whose spans are collected."""

    collector: Collector = field(default_factory=Collector)

    @property
    def metadata(self) -> aio.Metadata:
        return aio.Metadata(("authorization", f"Bearer {self.key}"))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedPlatform]:
    """One platform with the fleet of the pages for all tests; afterwards nothing of it may be left."""
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "FORGE_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true",  # to a receiver of the test
        "FORGE_RATE_LIMIT_PER_SECOND": "1000",  # one key asks for everything here
        "FORGE_RATE_LIMIT_BURST": "10000",
    }
    home = tmp_path_factory.mktemp("platform") / "home"
    subject = TracedPlatform(home, "pages", environment, collector=collector)
    try:
        with running(subject):
            yield subject
    finally:
        server.stop(0)


@pytest.fixture
def rest(platform: Platform) -> Iterator[httpx.Client]:
    """An HTTP client with the platform's key."""
    with platform.client() as client:
        yield client


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Polls until something holds."""
    return poll


def ndjson(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The messages of a stream of JSON lines."""
    for line in response.iter_lines():
        if line.strip():
            yield json.loads(line)


@pytest.fixture
def followed(platform: Platform) -> Callable[..., list[dict[str, Any]]]:
    """Follows a render's events over REST to their end."""

    def follow(render_id: str, after_seq: int = 0) -> list[dict[str, Any]]:
        path = f"/v1/renders/{render_id}/events"
        with platform.client() as client, client.stream("GET", path, params={"after_seq": after_seq}) as response:
            assert response.status_code == 200, response.read()
            return [event for event in ndjson(response) if not event["keep_alive"]]

    return follow


@pytest.fixture
def facts() -> Callable[[bytes], tuple[int, int, int, float]]:
    """Reads (frames, width, height, frames per second) from a file itself."""

    def read(video: bytes) -> tuple[int, int, int, float]:
        with av.open(io.BytesIO(video), mode="r", format="mp4") as container:
            stream = container.streams.video[0]
            frames = sum(1 for _ in container.decode(stream))
            assert stream.average_rate is not None
            return frames, stream.width, stream.height, float(stream.average_rate)

    return read


@pytest.fixture
def render_under_way(platform: Platform, rest: httpx.Client) -> str:
    """A render that has made some of its hundred steps."""
    body = platform.small(SVD, num_inference_steps=100, width=256, height=256, num_frames=8)
    render_id = rest.post("/v1/renders", json=body).json()["id"]
    path = f"/v1/renders/{render_id}"
    poll(lambda: rest.get(path).json()["progress"]["done_steps"] > 3, seconds=60, what="progress")
    return render_id
