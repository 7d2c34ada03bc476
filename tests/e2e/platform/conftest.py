"""The whole platform, as its users get it: `forge up`, on a free port, in a home of its own."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import grpc
import httpx
import psutil
import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

FORGE = Path(sys.executable).with_name("forge")
SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"

# Small versions of the examples' requests, for what does not depend on their size.
SMALL = {
    SVD: {"width": 64, "height": 64, "num_frames": 2, "num_inference_steps": 2, "seed": 1},
    SKYREELS: {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 3, "seed": 1, "prompt": "a cat"},
}


def _eventually(holds: Callable[[], Any], *, seconds: float = 30.0, what: str = "it") -> Any:
    """Poll until `holds` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


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
class Platform:
    """A running platform and what its first user has: an address and a key."""

    process: "subprocess.Popen[str]"
    home: Path
    url: str
    key: str
    collector: Collector
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {key or self.key}"}, timeout=600, trust_env=False
        )

    @property
    def metadata(self) -> aio.Metadata:
        return aio.Metadata(("authorization", f"Bearer {self.key}"))

    def example(self, slug: str, **changes: Any) -> dict[str, Any]:
        """A model's example body, with changes."""
        if slug not in self.examples:
            with self.client() as client:
                self.examples[slug] = client.get(f"/v1/models/{slug}/input-schema").json()["example"]
        return self.examples[slug] | changes

    def small(self, slug: str, **changes: Any) -> dict[str, Any]:
        """A body that renders in about a second."""
        body = self.example(slug)
        kept = {name: body[name] for name in ("image", "model", "model_version") if name in body}
        return kept | SMALL[slug] | changes

    def forge(self, *args: str, check: bool = True, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Run a forge command against this platform."""
        return subprocess.run(
            [str(FORGE), *args],
            env=os.environ | {"FORGE_HOME": str(self.home)},
            text=True,
            capture_output=True,
            check=check,
            timeout=300,
            **more,
        )

    def processes(self, module: str) -> list[psutil.Process]:
        """The platform's processes whose command line names `module`; all for ""."""
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                mine = str(self.home) in command or process.environ().get("FORGE_HOME") == str(self.home)
                if mine and module in command and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def worker_pids(self) -> set[int]:
        """The processes of runtimes; those that only wait to become one are not among them."""
        files = (self.home / "run").glob("rt_*.json")
        return {json.loads(file.read_text())["pid"] for file in files}

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def start_forge(home: Path, *args: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    with (home.parent / "up.log").open("a") as log:
        return subprocess.Popen(
            [str(FORGE), "up", "--port", "0", "--home", str(home), *args],
            env=os.environ | (environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform with the fleet of the pages for all tests; afterwards nothing of it may be left."""
    root = tmp_path_factory.mktemp("platform")
    home = root / "home"
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    process = start_forge(
        home,
        "--fleet",
        "pages",
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "200"},
    )
    try:
        base = home / "run" / "api-base"
        _eventually(lambda: base.exists() or process.poll() is not None, seconds=60, what="the start")
        url = base.read_text().strip()
        running = Platform(process, home, url, "", collector)
        _eventually(running.is_healthy, seconds=120, what="health")
        running.key = (home / "api-key").read_text().strip()
        yield running
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        left = running.processes("")
        assert left == [], [process.cmdline() for process in left]
    except BaseException:
        for log in (root / "up.log", *sorted((home / "logs").glob("*.log"))):
            sys.stdout.write(f"--- {log.name}\n{log.read_text()[-3000:]}\n")
        raise
    finally:
        server.stop(0)
        if process.poll() is None:
            process.kill()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def rest(platform: Platform) -> Iterator[httpx.Client]:
    """An HTTP client with the platform's key."""
    with platform.client() as client:
        yield client


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Polls until something holds."""
    return _eventually


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
    _eventually(lambda: rest.get(path).json()["progress"]["done_steps"] > 3, seconds=60, what="progress")
    return render_id
