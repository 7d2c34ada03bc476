"""A real S3-compatible server for tests, which can be killed, and an Envoy before it, which spoils answers when told.

The server is SeaweedFS: it checks signatures, whom a key lets do what, conditions, digests and the ends of addresses.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from boto3.session import Session
from botocore.config import Config

from forge_cli.stack import free_ports

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "forge"
KEY_ID, SECRET = "of-the-platform", "a-secret-of-tests-only"
READER_KEY_ID = "of-a-reader"
_IDENTITIES = {
    "identities": [
        {
            "name": "platform",
            "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY_ID, "secretKey": SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}
_PREFIX = "of-tests"
_S3 = "s3.port"
_PARTS = ("master.port", "volume.port", "filer.port", _S3)
_READY_SECONDS = 30.0
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


class ObjectStoreServer:
    """A server with one bucket; what was answered as stored survives its being killed."""

    def __init__(self, folder: Path, endpoint_port: int, ports: Mapping[str, int]) -> None:
        self.endpoint = f"http://127.0.0.1:{endpoint_port}"
        self._folder = folder
        self._ports = dict(ports)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it takes requests that nobody spoils."""
        return self._ports[_S3]

    @property
    def environment(self) -> dict[str, str]:
        """What points an installation at it."""
        return {"FORGE_OBJECTS_URL": f"s3://{BUCKET}/{_PREFIX}", **self.access}

    @property
    def access(self) -> dict[str, str]:
        """Where it is and the keys to it, as tools for S3 read them."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}

    @cached_property
    def client(self) -> "S3Client":
        """A client of another make than the one under test."""
        return _client(self.endpoint, retries={"mode": "standard"})

    def found(self, key: str) -> bytes | None:
        """What is under a key of the installation."""
        try:
            return self.client.get_object(Bucket=BUCKET, Key=f"{_PREFIX}/{key}")["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it takes requests."""
        if self._process is not None:
            return
        identities = self._folder / "identities.json"
        identities.write_text(json.dumps(_IDENTITIES), "utf-8")
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        given = [f"-{part}={port}" for part, port in self._ports.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    Path(sys.executable).parent / "weed",
                    "-logtostderr=true",
                    "server",
                    f"-dir={data}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-filer",
                    "-s3",
                    *given,
                    f"-s3.config={identities}",
                    "-s3.autoCreateBucket=false",
                    "-s3.iam=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-master.telemetry=false",  # nobody is to hear of our tests
                    "-master.electionTimeout=1s",
                    "-master.volumeSizeLimitMB=64",
                    "-volume.max=30",
                    "-volume.preStopSeconds=0",
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        give_up_at = time.monotonic() + _READY_SECONDS
        while not self._takes_objects():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise AssertionError((self._folder / "log").read_text("utf-8", "replace")[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a loss of power would; its files stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _takes_objects(self) -> bool:
        client = _client(
            f"http://127.0.0.1:{self.port}", retries={"max_attempts": 1}, connect_timeout=1, read_timeout=2
        )
        try:
            if BUCKET not in [found.get("Name") for found in client.list_buckets().get("Buckets", [])]:
                client.create_bucket(Bucket=BUCKET)
            for found in client.list_objects_v2(Bucket=BUCKET, Prefix="of-the-server/").get("Contents", []):
                client.get_object(Bucket=BUCKET, Key=found.get("Key", ""))["Body"].read()
            client.put_object(Bucket=BUCKET, Key="of-the-server/started", Body=b"it serves")
        except Exception:
            return False
        return True


def _grpc(part: str) -> str:
    return f"{part}.grpc"


def _client(endpoint: str, **more: Any) -> "S3Client":
    client: Any = Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **more),
    )
    return client


class Spoiler:
    """What becomes of requests on their way to the server: by an Envoy, whose faults are set while it runs."""

    def __init__(self, admin: str) -> None:
        self._admin = admin

    def refuse(self, percent: float) -> None:
        """Answer so many of 100 requests with 503 without passing them on."""
        self._set("fault.http.abort.abort_percent", percent)

    def delay(self, percent: float) -> None:
        """Keep so many of 100 requests for a second and a half."""
        self._set("fault.http.delay.fixed_delay_percent", percent)

    def trickle(self, percent: float) -> None:
        """Let the answers of so many of 100 requests come at 512 KiB a second."""
        self._set("fault.http.rate_limit.response_percent", percent)

    def nothing(self) -> None:
        """Pass everything on."""
        for spoil in (self.refuse, self.delay, self.trickle):
            spoil(0)

    @property
    def refused(self) -> int:
        """How many requests were refused so far."""
        answer = httpx.get(f"{self._admin}/stats", params={"filter": "aborts_injected"}, timeout=5).raise_for_status()
        return sum(int(line.rpartition(" ")[2]) for line in answer.text.splitlines())

    def _set(self, name: str, percent: float) -> None:
        httpx.post(f"{self._admin}/runtime_modify", params={name: f"{percent:g}"}, timeout=5).raise_for_status()


@contextmanager
def an_object_store() -> Iterator[tuple[ObjectStoreServer, Spoiler]]:
    """Run a server, and an Envoy before it, in a folder of their own while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="forge-objects-"))
    listen, admin, *ports = free_ports(2 + 2 * len(_PARTS))
    server = ObjectStoreServer(folder, listen, dict(zip((*_PARTS, *map(_grpc, _PARTS)), ports, strict=True)))
    try:
        server.start()
        with _envoy(folder, listen=listen, admin=admin, upstream=server.port) as spoiler:
            yield server, spoiler
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _envoy(folder: Path, *, listen: int, admin: int, upstream: int) -> Iterator[Spoiler]:
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(listen, admin, upstream)), "utf-8")
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "envoy", "-c", config, "--concurrency", "1", "--use-dynamic-base-id"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        give_up_at = time.monotonic() + _READY_SECONDS
        while not _is_ready(admin):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise AssertionError((folder / "envoy.log").read_text("utf-8", "replace")[-2000:])
            time.sleep(0.05)
        yield Spoiler(f"http://127.0.0.1:{admin}")
    finally:
        process.kill()
        process.wait()


def _is_ready(admin: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{admin}/ready", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def _envoy_config(listen: int, admin: int, upstream: int) -> dict[str, Any]:
    def at(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def none() -> dict[str, Any]:
        return {"numerator": 0, "denominator": "HUNDRED"}

    fault = {
        "@type": f"{_FILTERS}.http.fault.v3.HTTPFault",
        "abort": {"http_status": 503, "percentage": none()},
        "delay": {"fixed_delay": "1.5s", "percentage": none()},
        "response_rate_limit": {"fixed_limit": {"limit_kbps": 512}, "percentage": none()},
    }
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "objects",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],  # the name that was asked for goes on with the request: it is signed
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "fault", "typed_config": fault},
            {"name": "router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}},
        ],
    }
    server = {
        "name": "server",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}],
        },
    }
    listener = {
        "name": "objects",
        "address": at(listen),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": at(admin)},
        "static_resources": {"listeners": [listener], "clusters": [server]},
        "layered_runtime": {"layers": [{"name": "told", "admin_layer": {}}]},
    }
