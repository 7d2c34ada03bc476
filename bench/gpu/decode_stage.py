"""Both VAEs by themselves: diffusers as shipped, and our decoders."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from bench.engine_cpu import Stopwatch
from bench.examples import Audience
from bench.gpu.measuring import Stage
from bench.gpu.notebook import OURS, SKYREELS, SVD, THEIRS, named
from services.inference_worker.adapters.engines.wan_decoder import WanDecoder, pixels_of
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs.fields import latent_frames
from services.inference_worker.ports import Engine


def decode(stage: Stage) -> None:
    """Decode random latents of the pages' sizes."""
    stage.attempt("VAE of SVD", partial(_svd, stage))
    stage.attempt("VAE of SkyReels", partial(_skyreels, stage))


def _svd(stage: Stage) -> None:
    subject = stage.subjects[SVD]
    inputs, pipeline = subject.inputs, subject.make(stage.device)
    frames, factor = inputs["num_frames"], pipeline.vae_scale_factor
    size = (1, frames, pipeline.vae.config.latent_channels, inputs["height"] // factor, inputs["width"] // factor)
    latents = stage.noise(*size, dtype=pipeline.vae.dtype)
    chunks = (inputs["decode_chunk_size"], frames)
    for chunk in chunks:
        name = named(SVD, THEIRS, f"decoding, {chunk} frames at a time")
        work = partial(pipeline.decode_latents, latents, frames, chunk)
        stage.attempt(name, partial(_note, stage, name, work))
    engine = subject.engine(pipeline, stage.device)
    for chunk in chunks:
        name = named(SVD, OURS, f"decoding, {chunk} frames at a time")
        one_step = {**inputs, "num_inference_steps": 1, "decode_chunk_size": chunk}
        stage.attempt(name, partial(_note_phase, stage, name, engine, one_step))


def _skyreels(stage: Stage) -> None:
    subject = stage.subjects[SKYREELS]
    inputs, pipeline = subject.inputs, subject.make(stage.device)
    vae, factor = pipeline.vae, pipeline.vae_scale_factor_spatial
    frames = latent_frames(inputs["num_frames"])
    size = (1, vae.config.z_dim, frames, inputs["height"] // factor, inputs["width"] // factor)
    latents = stage.noise(*size, dtype=torch.float32)
    for name, work in (
        (named(SKYREELS, THEIRS, "decoding alone"), lambda: partial(vae.decode, latents)),
        (named(SKYREELS, OURS, "decoding alone"), lambda: partial(_streamed, WanDecoder(vae), latents)),
        (
            named(SKYREELS, OURS, "decoding alone, in bf16, which shows bands"),
            lambda: partial(_streamed, WanDecoder(copy.deepcopy(vae).to(torch.bfloat16)), latents),
        ),
    ):
        stage.attempt(name, lambda name=name, work=work: _note(stage, name, work()))


def _note_phase(stage: Stage, name: str, engine: Engine, inputs: Mapping[str, Any]) -> None:
    """The decoding of a render, after another one like it."""
    engine.render(inputs, Audience())
    stopwatch = Stopwatch()
    rendered = engine.render(inputs, Audience(stopwatch.on_moment))
    stage.note_peak(name, rendered.peak_memory[Phase.DECODING])
    stage.notebook.note(name, stopwatch.read()["phases"][Phase.DECODING][0])


def _note(stage: Stage, name: str, work: Any) -> None:
    stage.note_peak(name, stage.peak(work))
    stage.notebook.note(name, stage.seconds(work, calls=1, warm_up=1))


def _streamed(decoder: WanDecoder, latents: torch.Tensor) -> None:
    decoding = decoder.begin()
    for frame in latents.unbind(2):
        pixels_of(decoding.frames_of(frame), latents.shape[3] * 8, latents.shape[4] * 8)
