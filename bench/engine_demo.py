"""How long the engines take for both example requests, phase by phase, with nothing of the platform around them.

    python -m bench.engine_demo [slug…]

Weights and device are those of FORGE_WEIGHTS, FORGE_WORKER_DEVICE and FORGE_HOME. CPU seconds count all threads: they
tell what a render costs even while the machine has other things to do. Videos and a frame of each go to out/bench/.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.config import WorkerSettings
from services.inference_worker.domain.version import StartMoment, Version
from services.inference_worker.ports import Moment

ROUTING = {"model", "model_version", "gpu_type", "region"}


class Stopwatch:
    """Wall and CPU seconds of each phase, from the reports of what goes through them."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self.steps = 0
        self._phase: str | None = None
        self._since = (0.0, 0.0)

    def enter(self, phase: str | None) -> None:
        """A phase begins; the one before it ends."""
        now = (time.perf_counter(), time.process_time())
        if self._phase:
            wall, cpu = self.seconds.get(self._phase, (0.0, 0.0))
            self.seconds[self._phase] = (wall + now[0] - self._since[0], cpu + now[1] - self._since[1])
        self._phase, self._since = phase, now

    def on_start(self, moment: StartMoment) -> None:
        """A stage of the start."""
        if moment.phase != self._phase:
            self.enter(moment.phase)

    def on_moment(self, moment: Moment) -> None:
        """A moment of the render."""
        if moment.phase != self._phase:
            self.enter(moment.phase)
        self.steps = max(self.steps, moment.done_steps)


class NeverStop:
    """Nobody stops a benchmark."""

    def check(self) -> None:
        """Go on."""


def main(slugs: list[str]) -> None:
    """Run the examples of the given models, or of all, and print the table."""
    settings = WorkerSettings()
    out = REPOSITORY / "out" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for file in sorted((settings.config_dir / "models").glob("*.yaml")):
        model = yaml.safe_load(file.read_text())
        if not slugs or model["slug"] in slugs:
            for version in model["versions"]:
                rows.append((model["slug"], *run(settings, model["slug"], version, out)))  # noqa: PERF401 — minutes each
    print(f"{'model':36}{'phase':18}{'wall s':>9}{'cpu s':>9}")
    for slug, load, render in rows:
        for name, (wall, cpu) in {**load.seconds, **render.seconds}.items():
            print(f"{slug:36}{name:18}{wall:9.2f}{cpu:9.2f}")
        wall, cpu = (sum(pair[column] for pair in render.seconds.values()) for column in (0, 1))
        print(f"{slug:36}{'render':18}{wall:9.2f}{cpu:9.2f}   {render.steps} steps")


def run(settings: WorkerSettings, slug: str, version: Mapping[str, Any], out: Path) -> tuple[Stopwatch, Stopwatch]:
    """Load a version and render its example."""
    load, render = Stopwatch(), Stopwatch()
    engine = LateEngineLoader(settings).load(version_of(slug, version), load.on_start)
    load.enter(None)
    inputs = with_defaults(version["input_schema"], version["example"])
    clip = engine.render(inputs, render.on_moment, NeverStop())
    video = PyAvVideoEncoder().encode(clip, render.on_moment, NeverStop())
    render.enter(None)
    (out / f"{slug}.mp4").write_bytes(video)
    save_frame(clip.frames[len(clip.frames) // 2], out / f"{slug}.png")
    return load, render


def version_of(slug: str, version: Mapping[str, Any]) -> Version:
    """A version of a model's file as the worker is told to load it."""
    return Version(
        slug=slug,
        model_version=version["version"],
        pipeline=version["pipeline"],
        weights_repository=version["weights_repository"],
        weights_revision=version["weights_revision"],
        weights_dtype=version["weights_dtype"],
    )


def with_defaults(schema: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """The example's inputs, with the schema's defaults for those it leaves out, as the scheduler would send them."""
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    return {**defaults, **{name: value for name, value in example.items() if name not in ROUTING}}


def save_frame(pixels: Any, file: Path) -> None:
    """Write one frame as a picture."""
    from PIL import Image

    Image.fromarray(pixels).save(file)


if __name__ == "__main__":
    main(sys.argv[1:])
