"""Tiny Stable Video Diffusion engines, and what the pipeline of diffusers makes of the same requests."""

from collections.abc import Mapping
from typing import Any

import torch

from services.inference_worker.adapters.engines.device import without_known_warnings
from services.inference_worker.adapters.engines.stable_video.engine import StableVideoDiffusionEngine
from services.inference_worker.adapters.engines.state import unpack
from services.inference_worker.adapters.pillow_images import read_image
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs
from tests.unit.inference_worker.tiny_svd import FINGERPRINT

CPU = torch.device("cpu")
LARGEST_DIFFERENCE = 1e-5


def an_engine(pipeline: Any, fingerprint: Mapping[str, str] = FINGERPRINT) -> Any:
    return StableVideoDiffusionEngine(pipeline, CPU, fingerprint)


def heard(engine, inputs, listener, resume_from=None):
    """What a render told, its checkpoints included."""
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(inputs, ear, resume_from)
    return ear


def frames_of(engine, inputs, listener, resume_from=None):
    ear = listener()
    engine.render(inputs, ear, resume_from)
    return ear.frames


def state_after(step, ear, inputs):
    return unpack(ear.checkpoints[step], FINGERPRINT, inputs)


def latents_of(ear, inputs):
    """The latents after the last step, of shape (1, frames, channels, h, w)."""
    return state_after(inputs["num_inference_steps"], ear, inputs).tensors["latents"]


def as_the_pipeline_has_them(pipeline, inputs):
    """Its latents. What is not said in `inputs` is as our defaults have it."""
    wanted = StableVideoInputs.read(inputs)
    image, _ = read_image(wanted.image, width=wanted.width, height=wanted.height)
    call = without_known_warnings()(pipeline.__call__)
    return call(
        image=image,
        width=wanted.width,
        height=wanted.height,
        num_frames=wanted.num_frames,
        num_inference_steps=wanted.num_inference_steps,
        min_guidance_scale=wanted.min_guidance_scale,
        max_guidance_scale=wanted.max_guidance_scale,
        fps=wanted.fps,
        motion_bucket_id=wanted.motion_bucket_id,
        noise_aug_strength=wanted.noise_aug_strength,
        generator=torch.Generator().manual_seed(wanted.seed),
        output_type="latent",
    ).frames


def as_the_pipeline_decodes_them(pipeline, latents, chunk_size):
    """Frames in -1…1 of shape (frames, height, width, 3)."""
    with torch.no_grad():
        return pipeline.decode_latents(latents, latents.shape[1], chunk_size)[0].permute(1, 2, 3, 0)
