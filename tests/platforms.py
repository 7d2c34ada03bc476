"""The whole platform for tests, as its users get it: `forge up`, on a free port, in a home of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
FORGE = Path(sys.executable).with_name("forge")
SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"

# Small versions of the examples' requests, for what does not depend on their size.
SMALL = {
    SVD: {"width": 64, "height": 64, "num_frames": 2, "num_inference_steps": 2, "seed": 1},
    SKYREELS: {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 3, "seed": 1, "prompt": "a cat"},
}

_START_SECONDS = 120.0
_STOP_SECONDS = 60.0


def eventually(holds: Callable[[], Any], *, seconds: float = 30.0, what: str = "it") -> Any:
    """Poll until `holds` gives something true, and return that. Raises AssertionError when `seconds` are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass
class Platform:
    """A platform in `home`, and what its first user has: an address and a key. It can be started again and again."""

    home: Path
    fleet: str
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ("up",)
    """What `forge` is told to do."""
    process: "subprocess.Popen[str] | None" = None
    url: str = ""
    key: str = ""
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    orphan_seconds: float = 0.0
    """How long after the end a worker may still be there whose scheduler was killed before it knew of it."""

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        base = self.home / "run" / "api-base"
        base.unlink(missing_ok=True)
        self.process = process = start_forge(
            self.home, "--fleet", self.fleet, environment=self.environment, command=self.command
        )

        def served_at() -> str:
            if process.poll() is not None:
                raise AssertionError(f"forge up ended with code {process.returncode}")
            return base.read_text().strip() if base.exists() else ""

        self.url = eventually(served_at, seconds=_START_SECONDS, what="the start")
        eventually(self.is_healthy, seconds=_START_SECONDS, what="health")
        self.key = (self.home / "api-key").read_text().strip()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Tell it to stop, and see that it ends well and leaves no process behind."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        deadline = time.monotonic() + self.orphan_seconds
        while (left := self.processes("")) and time.monotonic() < deadline:
            time.sleep(0.1)
        if code or left:
            raise AssertionError(f"forge up ended with code {code} and left {[found.cmdline() for found in left]}")

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client of the edge."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {key or self.key}"}, timeout=600, trust_env=False
        )

    def example(self, slug: str, **changes: Any) -> dict[str, Any]:
        """A model's example body, with changes."""
        if slug not in self.examples:
            with self.client() as client:
                self.examples[slug] = client.get(f"/v1/models/{slug}/input-schema").json()["example"]
        return self.examples[slug] | changes

    def small(self, slug: str, **changes: Any) -> dict[str, Any]:
        """A body that renders in about a tenth of a second once its runtime is warm."""
        body = self.example(slug)
        kept = {name: body[name] for name in ("image", "model", "model_version") if name in body}
        return kept | SMALL[slug] | changes

    def forge(self, *args: str, check: bool = True, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Run a forge command against this platform."""
        return subprocess.run(
            [str(FORGE), *args],
            env={name: value for name, value in os.environ.items() if name != "COLUMNS"}
            | dict(self.environment)
            | {"FORGE_HOME": str(self.home)},
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
        """Whether the edge says that every service is up."""
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def last_words(self) -> str:
        """The end of every log, for a person who looks into a failure."""
        logs: Sequence[Path] = [self.home.parent / "up.log", *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.exists())


def on_one_slot(root: Path, environment: Mapping[str, str]) -> Platform:
    """A platform below `root`, not yet running, with one simulated slot."""
    fleet = root / "fleet.yaml"
    fleet.write_text("slots:\n  - {gpu_type: B200, region: us-central1, count: 1, simulated: true, memory_gib: 180}\n")
    return Platform(root / "home", str(fleet), environment)


def start_forge(
    home: Path, *args: str, environment: Mapping[str, str] | None = None, command: Sequence[str] = ("up",)
) -> "subprocess.Popen[str]":
    """`forge up` as a process of its own; what it prints goes to up.log beside its home."""
    with (home.parent / "up.log").open("a") as log:
        return subprocess.Popen(
            [str(FORGE), *command, "--port", "0", "--home", str(home), *args],
            env=os.environ | (environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def running(platform: Platform) -> Iterator[Platform]:
    """Run a platform while the block runs; afterwards nothing of it may be left, neither process nor file."""
    platform.home.parent.mkdir(parents=True, exist_ok=True)
    try:
        platform.start()
        yield platform
        platform.stop()
    except BaseException:
        sys.stdout.write(platform.last_words())
        raise
    finally:
        if platform.process is not None and platform.process.poll() is None:
            platform.process.kill()
        shutil.rmtree(platform.home, ignore_errors=True)
