"""Real Ray clusters on this machine: each node is a `ray start` of its own, with an address of its own."""

import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from forge_cli.stack import free_ports

READY_SECONDS = 60.0
_RAY = str(Path(sys.executable).with_name("ray"))
_HEAD = "127.0.0.2"
"""Ray takes 127.0.0.1 for a name of the machine's outer address."""
_FAILS_SOON = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that is gone is known to be within seconds; as Ray comes, within a quarter of a minute."""
_ANY_PORTS = ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
"""The usual ones are the same on each node."""


@dataclass
class RayNode:
    """A node: processes that come and go together."""

    process: subprocess.Popen[bytes]
    address: str
    labels: Mapping[str, str]

    def kill(self) -> None:
        """Have it vanish, as a machine does whose power is cut: every process at once, workers as well."""
        for each in [*self.processes(), self.process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Its processes whose command has these words in it."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [each for each in children if words in " ".join(_command(each))]


@dataclass
class RayCluster:
    """A head without room for work, and nodes that are added to it."""

    folder: Path
    token: str
    port: int
    client_port: int
    head: RayNode | None = None
    nodes: list[RayNode] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(3))

    @property
    def address(self) -> str:
        """Where programs on its machines find it."""
        return f"{_HEAD}:{self.port}"

    @property
    def outer_address(self) -> str:
        """Where a client from anywhere finds it."""
        return f"ray://{_HEAD}:{self.client_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client is started with."""
        return {"RAY_ADDRESS": self.address, **self._for_all}

    def start_head(self) -> None:
        """Start the head, or another in place of one that was killed."""
        ports = ["--port", str(self.port), "--ray-client-server-port", str(self.client_port)]
        self.head = self._start(_HEAD, ["--head", "--num-cpus", "0", "--include-dashboard", "false", *ports], {}, {})

    def add_node(
        self, labels: Mapping[str, str], *, cpus: int = 0, gpus: int = 0, environment: Mapping[str, str] | None = None
    ) -> RayNode:
        """Add a node. `gpus` are such in Ray's books only."""
        address = f"127.0.0.{next(self._numbers)}"
        described = ",".join(f"{name}={value}" for name, value in labels.items())
        options = ["--address", self.address, "--num-cpus", str(cpus), "--num-gpus", str(gpus)]
        node = self._start(address, [*options, "--labels", described], environment or {}, labels)
        self.nodes.append(node)
        return node

    def kill(self, node: RayNode) -> None:
        """Have a node vanish."""
        node.kill()
        self.nodes.remove(node)

    def kill_head(self) -> None:
        """Have the head vanish. Its nodes go on for a while."""
        if self.head is not None:
            self.head.kill()
            self.head = None

    def processes(self, words: str) -> list[psutil.Process]:
        """The processes of all nodes whose command has these words in it."""
        return [process for node in self.nodes for process in node.processes(words)]

    def stop(self) -> None:
        """End every process."""
        for node in [*self.nodes, *([self.head] if self.head else [])]:
            node.kill()
        self.nodes.clear()

    def _start(
        self, address: str, options: list[str], environment: Mapping[str, str], labels: Mapping[str, str]
    ) -> RayNode:
        """Start a node; returns once it has joined: two at once would choose the same names for their sockets."""
        log = self.folder / f"{address}.log"
        with log.open("wb") as words:
            process = subprocess.Popen(
                [
                    _RAY,
                    "start",
                    "--block",
                    "--disable-usage-stats",
                    "--node-ip-address",
                    address,
                    *_ANY_PORTS,
                    *options,
                ],
                env={**self._environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        until = time.monotonic() + READY_SECONDS
        while "Ray runtime started" not in (said := log.read_text("utf-8", errors="replace")):
            assert process.poll() is None, said[-2000:]
            assert time.monotonic() < until, said[-2000:]
            time.sleep(0.05)
        return RayNode(process, address, labels)

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("FORGE_", "AWS_"))}
        return mine | self._for_all | _FAILS_SOON | {"RAY_TMPDIR": str(self.folder)}

    @property
    def _for_all(self) -> dict[str, str]:
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "PYTHONPATH": str(self.folder / "absent"),
            "GRPC_ENABLE_FORK_SUPPORT": "0",  # with it what the head starts for a client crashes now and then
        }


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A head of its own, until the block ends."""
    port, client_port = free_ports(2)
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)  # for short paths
        folder = Path(stack.enter_context(made))
        _leave_out(folder / "absent", "rfc3987_syntax")  # a development tool's, and a second for each process of Ray
        cluster = RayCluster(folder, secrets.token_urlsafe(24), port, client_port)
        stack.callback(cluster.stop)
        cluster.start_head()
        yield cluster


def _leave_out(folder: Path, module: str) -> None:
    """Have Python find no such module who looks into `folder` first."""
    folder.mkdir()
    (folder / f"{module}.py").write_text("raise ImportError", "utf-8")


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
