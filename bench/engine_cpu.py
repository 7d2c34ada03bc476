"""Our engines beside the pipelines of diffusers, on the demo weights and the example requests, in the same run.

    python -m bench.engine_cpu [slug…]

Each measurement is a process of its own, so that its peak memory is its own. Both render the same request from the same
weights on the same number of threads (FORGE_WORKER_THREADS). CPU seconds count all threads: they tell what a render
costs even while the machine has other things to do. Only rendering counts, not loading. `difference` is the largest
between the two videos' numbers, of 255. Videos and a frame of each go to out/bench/.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.examples import Audience, Example, examples
from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader, import_libraries
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.config import WorkerSettings
from services.inference_worker.ports import Moment

OUT = REPOSITORY / "out" / "bench"


class Stopwatch:
    """Wall and CPU seconds: of all, of each phase, and to the first frames."""

    def __init__(self) -> None:
        self._began = self._since = (time.perf_counter(), time.process_time())
        self._phase: str | None = None
        self.phases: dict[str, tuple[float, float]] = {}
        self.first_frames: tuple[float, float] | None = None

    def enter(self, phase: str | None) -> None:
        """A phase begins or goes on; the one before it ends or waits."""
        if self._phase:
            wall, cpu = self.phases.get(self._phase, (0.0, 0.0))
            spent = _since(self._since)
            self.phases[self._phase] = (wall + spent[0], cpu + spent[1])
        self._phase, self._since = phase, (time.perf_counter(), time.process_time())

    def on_moment(self, moment: Moment) -> None:
        """A moment of the render."""
        if moment.phase != self._phase:
            self.enter(moment.phase)
        if moment.phase == "decoding" and moment.share and self.first_frames is None:
            self.first_frames = _since(self._began)

    def read(self) -> dict[str, Any]:
        """What was measured, with the peak of this process's resident memory."""
        self.enter(None)
        whole = _since(self._began)
        return {
            "whole": whole,
            "first_frames": self.first_frames or whole,
            "phases": self.phases,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def _since(then: tuple[float, float]) -> tuple[float, float]:
    return time.perf_counter() - then[0], time.process_time() - then[1]


def with_our_engine(example: Example, settings: WorkerSettings) -> tuple[dict[str, Any], Any]:
    """Render with our engine."""
    engine = LateEngineLoader(settings).load(example.version, lambda _moment: None)
    stopwatch = Stopwatch()
    audience = Audience(stopwatch.on_moment)
    engine.render(example.inputs, audience)
    measured = stopwatch.read()
    return measured, np.concatenate(audience.frames)


def with_the_pipeline(example: Example, settings: WorkerSettings) -> tuple[dict[str, Any], Any]:
    """Render as a script would that uses diffusers and nothing else."""
    import_libraries(settings)
    import diffusers
    import torch

    from services.inference_worker.adapters.engines.device import prepare_process
    from services.inference_worker.adapters.engines.sources import source_for

    prepare_process(settings.worker_threads)
    found = source_for("demo", settings.home / "weights").locate(example.version, lambda _moment: None)
    pipeline = getattr(diffusers, example.version.pipeline).from_pretrained(found.folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(example.inputs["seed"])
    arguments = ARGUMENTS[example.version.pipeline](example.inputs)
    if transformer := getattr(pipeline, "transformer", None):
        # The demo weights compress more than the real ones and cannot make every size: the next larger one is cut.
        step = pipeline.vae_scale_factor_spatial * transformer.config.patch_size[1]
        arguments |= {side: -(-example.inputs[side] // step) * step for side in ("width", "height")}
    stopwatch = Stopwatch()
    frames = pipeline(**arguments, generator=generator, output_type="np").frames[0]
    measured = stopwatch.read()
    frames = np.asarray(frames)[:, : example.inputs["height"], : example.inputs["width"]]
    return measured, np.round(frames * 255).astype(np.uint8)


def _svd_arguments(inputs: Mapping[str, Any]) -> dict[str, Any]:
    from services.inference_worker.adapters.pillow_images import read_image

    picture, _ = read_image(inputs["image"], width=inputs["width"], height=inputs["height"])
    renamed = {"guidance_scale": "max_guidance_scale"}
    left_out = {"seed", "prompt", "negative_prompt", "image"}
    given = {renamed.get(name, name): value for name, value in inputs.items() if name not in left_out}
    return {"image": picture, **given}


def _text_arguments(*left_out: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def arguments(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in inputs.items() if name not in {"seed", *left_out}}

    return arguments


ARGUMENTS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "StableVideoDiffusionPipeline": _svd_arguments,
    "SkyReelsV2DiffusionForcingPipeline": _text_arguments(),
    "WanPipeline": _text_arguments("fps"),
}
WAYS = {"engine": with_our_engine, "pipeline": with_the_pipeline}


def measure(slug: str, way: str, into: Path) -> None:
    """One measurement, in this process; the figures go to standard output, the frames to a file."""
    settings = WorkerSettings()
    (example,) = examples(slug)
    measured, frames = WAYS[way](example, settings)
    np.save(into, frames)
    print(json.dumps({**measured, "fps": example.inputs["fps"]}))


def measured_apart(slug: str, way: str, into: Path) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    command = [sys.executable, "-m", "bench.engine_cpu", "--measure", slug, way, str(into)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY)
    return json.loads(done.stdout.splitlines()[-1])


def main(slugs: list[str]) -> None:
    """Measure each example both ways and print the table."""
    OUT.mkdir(parents=True, exist_ok=True)
    print(
        f"{'model':36}{'way':10}{'':14}{'wall s':>8}{'CPU s':>8}{'of it':>7}{'peak MiB':>10}{'difference':>12}",
        flush=True,
    )
    for example in examples(*slugs):
        slug = example.version.slug
        with tempfile.TemporaryDirectory() as folder:
            files = {way: Path(folder) / f"{way}.npy" for way in WAYS}
            found = {way: measured_apart(slug, way, files[way]) for way in WAYS}
            ours, theirs = (np.load(files[way]) for way in ("engine", "pipeline"))
        difference = int(np.abs(ours.astype(int) - theirs.astype(int)).max())
        whole = found["pipeline"]["whole"]
        row(slug, "pipeline", "", whole, whole, f"{found['pipeline']['peak_mib']:10.0f}")
        measured = found["engine"]
        row("", "engine", "", measured["whole"], whole, f"{measured['peak_mib']:10.0f}{difference:12}")
        row("", "", "first frames", measured["first_frames"], measured["whole"])
        for phase, spent in measured["phases"].items():
            row("", "", phase, spent, measured["whole"])
        keep(slug, ours, measured["fps"])


def row(slug: str, way: str, part: str, spent: tuple[float, float], whole: tuple[float, float], more: str = "") -> None:
    """One line of the table; `of it` is the share of the CPU time of `whole`."""
    print(f"{slug:36}{way:10}{part:14}{spent[0]:8.1f}{spent[1]:8.1f}{spent[1] / whole[1]:7.0%}{more}", flush=True)


def keep(slug: str, frames: Any, fps: int) -> None:
    """Write the video and its middle frame."""
    from PIL import Image

    recording = PyAvVideoEncoder().record(frames.shape[2], frames.shape[1], fps)
    recording.add(frames)
    (OUT / f"{slug}.mp4").write_bytes(recording.finish()[1])
    Image.fromarray(frames[len(frames) // 2]).save(OUT / f"{slug}.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
