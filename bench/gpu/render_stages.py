"""Whole renders of the pages' requests: diffusers as shipped, then our engines on the same modules."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.engine_cpu import ARGUMENTS, Stopwatch
from bench.examples import Audience
from bench.gpu.device_stages import choice
from bench.gpu.measuring import GIB, Stage
from bench.gpu.notebook import FIRST_FRAMES, OURS, OURS_COMPILED, SKYREELS, SVD, THEIRS, WHOLE, named
from bench.gpu.subjects import Subject
from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.engines.compiling import COMPILED, prepare_compiler
from services.inference_worker.adapters.engines.device import finish
from services.inference_worker.adapters.engines.kernels import DEFAULT
from services.inference_worker.domain.attempt import PeakMemory
from services.inference_worker.domain.inputs.fields import TEMPORAL_FACTOR, latent_frames
from services.inference_worker.domain.inputs.skyreels import Mode
from services.inference_worker.ports import Engine

Frames = NDArray[np.uint8]

COMPILE_CACHE = REPOSITORY / "out" / "bench" / "compile-cache"
"""Stays from run to run, as a worker's does."""

_RENDERS = 10
"""How many are watched for a growing peak of memory."""


class Watching(Audience):
    """A listener that never stops an engine; keeps the frames, and when they came."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__(stopwatch.on_moment)
        self._began = time.perf_counter()
        self._shown: list[tuple[int, float]] = []

    def show(self, frames: Frames) -> None:
        """Finished frames."""
        super().show(frames)
        self._shown.append((sum(map(len, self.frames)), time.perf_counter() - self._began))

    def seconds_to(self, frames: int) -> float:
        """When so many frames were there."""
        return next(seconds for count, seconds in self._shown if count >= frames)


def svd(stage: Stage) -> None:
    """Stable Video Diffusion: a whole render in each way."""
    subject = stage.subjects[SVD]
    pipeline = subject.make(stage.device)
    videos: dict[str, Frames] = {}
    stage.attempt("diffusers", lambda: videos.update(theirs=_theirs(stage, subject, pipeline, subject.few_steps)))
    stage.attempt("ours, torch's kernels", partial(_ours, stage, subject, pipeline, "ours, torch's kernels", DEFAULT))
    kernel = choice(stage, subject)
    stage.attempt("ours", lambda: videos.update(ours=_ours(stage, subject, pipeline, OURS, kernel)))
    stage.attempt("difference", partial(_difference, stage, subject, videos))
    stage.attempt("ours compiled", partial(_compiled, stage, subject, pipeline, kernel), takes_seconds=90)


def skyreels(stage: Stage) -> None:
    """SkyReels: passes of diffusers' pipeline, from which its whole render is extrapolated, and ours in its modes."""
    subject = stage.subjects[SKYREELS]
    pipeline = subject.make(stage.device)
    kernel = choice(stage, subject)
    stage.attempt("diffusers", partial(_their_passes, stage, subject, pipeline))
    stage.attempt("ours", partial(_ours, stage, subject, pipeline, OURS, kernel), takes_seconds=60)
    stage.attempt("ours compiled", partial(_compiled, stage, subject, pipeline, kernel), takes_seconds=120)
    for mode, changes in {
        Mode.SYNC: {"ar_step": 0, "causal_block_size": None},
        Mode.ASYNC_FULL: {},
    }.items():
        inputs = {**subject.inputs, "mode": mode.value, **changes}
        way = f"{OURS}, {mode.value}"
        stage.attempt(way, partial(_ours, stage, subject, pipeline, way, kernel, inputs), takes_seconds=120)


def skyreels_full(stage: Stage) -> None:
    """SkyReels: a whole render of diffusers' pipeline, which takes minutes, and how ours differs from it."""
    subject = stage.subjects[SKYREELS]
    pipeline = subject.make(stage.device)
    kernel = choice(stage, subject)
    videos: dict[str, Frames] = {}
    stage.attempt("ours", lambda: videos.update(ours=_ours(stage, subject, pipeline, OURS, kernel)))
    pipeline.to(stage.device)
    stage.attempt("diffusers", lambda: videos.update(theirs=_theirs(stage, subject, pipeline, subject.smaller)))
    stage.attempt("difference", partial(_difference, stage, subject, videos))


def memory(stage: Stage) -> None:
    """Whether the peak of memory grows over renders of mixed sizes."""
    for subject in stage.subjects.values():
        stage.attempt(f"memory of {subject.slug}", partial(_peaks, stage, subject))


def _theirs(stage: Stage, subject: Subject, pipeline: Any, warm_up: Mapping[str, Any]) -> Frames:
    """A whole render of diffusers' pipeline, after another one."""

    def video(inputs: Mapping[str, Any]) -> Frames:
        generator = torch.Generator("cpu").manual_seed(inputs["seed"])
        arguments = ARGUMENTS[subject.example.version.pipeline](inputs)
        frames = pipeline(**arguments, generator=generator, output_type="np").frames[0]
        return np.round(np.asarray(frames) * 255).astype(np.uint8)

    video(warm_up)
    frames: list[Frames] = []
    finish(stage.device)
    began = time.perf_counter()
    peak = stage.peak(lambda: frames.append(video(subject.inputs)))
    stage.notebook.note(named(subject.slug, THEIRS, WHOLE), time.perf_counter() - began)
    stage.note_peak(named(subject.slug, THEIRS, WHOLE), peak)
    return frames[0]


def _their_passes(stage: Stage, subject: Subject, pipeline: Any) -> None:
    """Single passes, one text and one decoding of diffusers' pipeline, and a whole render worked out of them."""
    inputs, transformer, vae = subject.inputs, pipeline.transformer, pipeline.vae
    frames, factor = latent_frames(inputs["num_frames"]), pipeline.vae_scale_factor_spatial
    size = (1, vae.config.z_dim, frames, inputs["height"] // factor, inputs["width"] // factor)
    latents = stage.noise(*size, dtype=transformer.dtype)
    text = stage.noise(1, 512, transformer.config.text_dim, dtype=transformer.dtype)

    def one_pass() -> object:
        return transformer(
            hidden_states=latents,
            timestep=torch.full((1, frames), 500, device=stage.device),
            encoder_hidden_states=text,
            enable_diffusion_forcing=True,
            fps=[1],
            return_dict=False,
        )

    def note(part: str, seconds: float) -> float:
        stage.notebook.note(named(subject.slug, THEIRS, part), seconds)
        return seconds

    whole_text = note(
        "both prompts",
        stage.seconds(
            lambda: pipeline.encode_prompt(inputs["prompt"], inputs["negative_prompt"], device=stage.device), calls=1
        ),
    )
    decoding = note("decoding", stage.seconds(lambda: vae.decode(latents.to(vae.dtype)), calls=1, warm_up=1))
    usual_block = transformer.config.num_frame_per_block
    iterations = subject.engine(pipeline, stage.device).plan(inputs).total_steps
    pipeline.to(stage.device)
    try:
        transformer._set_ar_attention(inputs["causal_block_size"])
        stage.note_peak(named(subject.slug, THEIRS, "pass with the mask"), stage.peak(one_pass))
        masked = note("pass with the mask", stage.seconds(one_pass, calls=2, warm_up=0))
    finally:
        transformer._set_ar_attention(usual_block)
    plain = note("pass without a mask", stage.seconds(one_pass, calls=2, warm_up=1))
    stage.notebook.note(
        named(subject.slug, THEIRS, WHOLE),
        2 * iterations * masked + whole_text + decoding,
        remark=f"{2 * iterations} passes, both prompts, decoding; without its solver",
        extrapolated=True,
    )
    steps = inputs["num_inference_steps"]
    stage.notebook.note(
        named(subject.slug, f"{THEIRS}, sync", WHOLE),
        2 * steps * plain + whole_text + decoding,
        remark=f"{2 * steps} passes",
        extrapolated=True,
    )


def _ours(
    stage: Stage,
    subject: Subject,
    pipeline: Any,
    way: str,
    kernel: str,
    inputs: Mapping[str, Any] | None = None,
) -> Frames:
    """A whole render of our engine, eager, after one with few steps."""
    engine = subject.engine(pipeline, stage.device, attention=kernel)
    engine.render(subject.few_steps, Audience())
    return _rendered(stage, subject, engine, way, inputs or subject.inputs)


def _compiled(stage: Stage, subject: Subject, pipeline: Any, kernel: str) -> None:
    """Two whole renders of our engine, compiled: the first one compiles on its way."""
    cache = (stage.scratch if stage.tiny else COMPILE_CACHE) / subject.slug
    stage.notebook.fact(f"compile cache of {subject.slug}", "there before" if cache.exists() else "empty before")
    prepare_compiler(cache)
    engine = subject.compiling_engine(pipeline, stage.device, attention=kernel)
    engine.render(subject.kind.smallest, Audience())  # the one that is eager
    for way in (f"{OURS_COMPILED}, its first", OURS_COMPILED):
        _rendered(stage, subject, engine, way, subject.inputs)
        if engine.fingerprint["kernels"] != COMPILED:
            raise RuntimeError("the engine gave up compiling; the log says why")


def _rendered(stage: Stage, subject: Subject, engine: Engine, way: str, inputs: Mapping[str, Any]) -> Frames:
    """A render, and its figures in the notebook."""
    slug, note = subject.slug, stage.notebook.note
    stopwatch = Stopwatch()
    watching = Watching(stopwatch)
    rendered = engine.render(inputs, watching)
    finish(stage.device)
    read = stopwatch.read()
    note(named(slug, way, WHOLE), read["whole"][0])
    ends = _ends_of_blocks(inputs)
    when = ", ".join(f"{watching.seconds_to(end):.2f}" for end in ends)
    note(named(slug, way, FIRST_FRAMES), watching.seconds_to(ends[0]), remark=f"{ends[0]} frames; blocks at {when}")
    for phase, (wall, _) in read["phases"].items():
        note(named(slug, way, phase), wall)
    peaks = rendered.peak_memory.values()
    stage.note_peak(
        named(slug, way, WHOLE),
        PeakMemory(max(peak.allocated_bytes for peak in peaks), max(peak.reserved_bytes for peak in peaks)),
    )
    return np.concatenate(watching.frames)


def _ends_of_blocks(inputs: Mapping[str, Any]) -> list[int]:
    """How many frames there are at the end of each block; those of all where there are no blocks."""
    frames = inputs["num_frames"]
    block = inputs.get("causal_block_size")
    if not block:
        return [frames]
    return [TEMPORAL_FACTOR * (end - 1) + 1 for end in range(block, latent_frames(frames) + 1, block)]


def _difference(stage: Stage, subject: Subject, videos: Mapping[str, Frames]) -> None:
    """How far the videos of both are apart. They round differently, and weights are random: a picture says little."""
    apart = np.abs(videos["ours"].astype(int) - videos["theirs"].astype(int))
    stage.notebook.note(named(subject.slug, OURS, "greatest difference from diffusers"), apart.max(), "of 255")
    stage.notebook.note(named(subject.slug, OURS, "mean difference from diffusers"), apart.mean(), "of 255")


def _peaks(stage: Stage, subject: Subject) -> None:
    """The peak of each of ten renders, of two sizes in turns."""
    pipeline = subject.make(stage.device)
    engine = subject.engine(pipeline, stage.device, attention=choice(stage, subject))
    reserved: list[float] = []
    for number in range(_RENDERS):
        inputs = subject.smaller if number % 2 else subject.few_steps
        peaks = engine.render(inputs, Audience()).peak_memory.values()
        reserved.append(max(peak.reserved_bytes for peak in peaks) / GIB)
    name = named(subject.slug, OURS, f"peak reserved in {_RENDERS} renders")
    stage.notebook.note(name, max(reserved), "GiB", "each: " + ", ".join(f"{peak:.2f}" for peak in reserved))
    grown = max(reserved[2:]) - max(reserved[:2])
    stage.notebook.note(f"{name}, growth after the first of each size", max(0.0, grown), "GiB")
