"""What the platform adds to a render: the same request over REST and straight into the engine, turn by turn.

    python -m bench.overhead [rounds]

The platform runs as `forge up` runs it, in a home of its own; the bare engine runs in this process, on the same weights
and the same number of threads. Both are warm. The table gives medians, and the median of the paired differences.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from bench.examples import Audience, examples
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.config import WorkerSettings
from services.inference_worker.ports import Engine

SLUG = "skywork-skyreels-v2"
SMALL = {"width": 128, "height": 128, "num_frames": 17, "num_inference_steps": 20, "causal_block_size": 5, "seed": 1}
ROUNDS = 20


@contextmanager
def platform(
    home: Path, environment: Mapping[str, str] = MappingProxyType({}), *, fleet: str = "local"
) -> Iterator[httpx.Client]:
    """A running platform, and a client with its key. `environment` are settings of its own."""
    forge = Path(sys.executable).with_name("forge")
    with (home / "up.log").open("w") as log:
        process = subprocess.Popen(
            [forge, "up", "--port", "0", "--home", home, "--fleet", fleet],
            stdout=log,
            env={**os.environ, **environment},
        )
        try:
            base = home / "run" / "api-base"
            while not (base.exists() and _is_healthy(base.read_text().strip())):
                if process.poll() is not None:
                    sys.exit(f"forge up ended: see {log.name}")
                time.sleep(0.1)
            key = (home / "api-key").read_text().strip()
            headers = {"authorization": f"Bearer {key}"}
            with httpx.Client(
                base_url=base.read_text().strip(), headers=headers, timeout=600, trust_env=False
            ) as client:
                yield client
        finally:
            process.terminate()
            process.wait()


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def bare(engine: Engine, inputs: dict[str, Any]) -> float:
    """Seconds to a file's bytes with nothing around the engine."""
    began = time.perf_counter()
    plan, audience = engine.plan(inputs), Audience()
    engine.render(inputs, audience)
    recording = PyAvVideoEncoder().record(plan.width, plan.height, plan.fps)
    for frames in audience.frames:
        recording.add(frames)
    recording.finish()
    return time.perf_counter() - began


def over_rest(client: httpx.Client, body: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds from the request to the finished render, and that render."""
    began = time.perf_counter()
    render = client.post(f"/v1/inference/{SLUG}", json=body).json()
    seconds = time.perf_counter() - began
    if render.get("status") != "succeeded":
        sys.exit(f"the render did not succeed: {render}")
    return seconds, render


def main(rounds: int) -> None:
    """Take turns and print the table."""
    (example,) = examples(SLUG)
    kept = {name: example.inputs[name] for name in ("prompt", "negative_prompt", "guidance_scale", "ar_step")}
    request = {**kept, **SMALL}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FORGE_HOME"] = folder
        engine = LateEngineLoader(WorkerSettings()).load(example.version, lambda _: None)
        inputs = {**example.inputs, **request}
        with platform(Path(folder)) as client:
            bare(engine, inputs)
            over_rest(client, request)
            pairs, renders = [], []
            for _ in range(rounds):
                alone = bare(engine, inputs)
                through, render = over_rest(client, request)
                pairs.append((alone, through))
                renders.append(render)
    show(pairs, renders)


def show(pairs: list[tuple[float, float]], renders: list[dict[str, Any]]) -> None:
    """Print what was measured."""
    alone = statistics.median(pair[0] for pair in pairs) * 1e3
    through = statistics.median(pair[1] for pair in pairs) * 1e3
    added = statistics.median(pair[1] - pair[0] for pair in pairs) * 1e3
    events = statistics.median(render["last_seq"] for render in renders)
    print(f"{len(pairs)} rounds, {SLUG} {SMALL['width']}x{SMALL['height']}x{SMALL['num_frames']}, warm")
    print(f"{'':44}{'median ms':>10}{'ratio':>8}")
    print(f"{'bare engine call, encoded to mp4':44}{alone:10.1f}{1.0:8.2f}")
    print(f"{'the same over REST, durable':44}{through:10.1f}{through / alone:8.2f}")
    print(f"{'added by the platform (paired)':44}{added:10.1f}{added / alone:8.2f}")
    for name in ("queued_ms", "encode_ms", "denoise_ms", "decode_ms", "mux_ms", "store_ms", "total_ms"):
        print(f"  {name:42}{statistics.median(render['timing'][name] for render in renders):10.1f}")
    print(f"events written per render: {events:.0f}, each in a transaction of its own")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
