"""Requests for tiny SkyReels engines, and what diffusers' pipeline makes of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load

from services.inference_worker.adapters.engines.skyreels.engine import SkyReelsEngine
from services.inference_worker.domain.inputs.fields import latent_frames
from services.inference_worker.domain.inputs.skyreels import Mode, SkyReelsInputs
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

CPU = torch.device("cpu")
FINGERPRINT: Mapping[str, str] = {"weights": "tiny", "attention": "default"}

LONG = {"num_frames": 57, "base_num_frames": 37, "overlap_history": 17}
"""Three windows: ten latent frames, then twice those that overlap by five."""
MODES: dict[str, dict[str, Any]] = {
    "causal": {"causal_block_size": 5, "ar_step": 2},
    "sync": {"causal_block_size": None, "ar_step": 0},
    "async_full": {"causal_block_size": 5, "ar_step": 2, "mode": "async_full"},
}


def a_request(**changes: Any) -> dict[str, Any]:
    """Two blocks of five latent frames, of which the second is two steps behind."""
    return {
        "prompt": "a cat",
        "negative_prompt": "blurry",
        "width": 64,
        "height": 80,
        "num_frames": 37,
        "num_inference_steps": 4,
        "guidance_scale": 6.0,
        "ar_step": 2,
        "causal_block_size": 5,
        "seed": 77,
        "fps": 24,
        **changes,
    }


def an_engine() -> SkyReelsEngine:
    """An engine that has never made a video."""
    return SkyReelsEngine(tiny_skyreels(), CPU, FINGERPRINT)


def latents_in(checkpoint: bytes, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The latents of the whole video, from the checkpoint after the last step."""
    tensors = load(checkpoint)
    earlier, latents = tensors["earlier"], tensors["latents"]
    overlap = latent_frames(inputs["overlap_history"]) if earlier.shape[2] else 0
    return torch.cat([earlier, latents[:, :, overlap:]], dim=2)


def made_by_pipeline(pipeline: Any, inputs: Mapping[str, Any], output_type: str = "latent") -> Any:
    """What the pipeline makes of a request. The noise it puts on an overlap comes from the request's seed, too."""
    read = SkyReelsInputs.read(inputs)
    arguments = {name: value for name, value in inputs.items() if name not in ("seed", "mode")}
    generator = torch.Generator().manual_seed(read.seed)
    pipeline.transformer.register_to_config(num_frame_per_block=1)  # a block size stays there from call to call
    with _noise_from(generator), _blocks_see(pipeline.transformer, all_others=read.mode is not Mode.CAUSAL):
        return pipeline(**arguments, generator=generator, output_type=output_type).frames


@contextmanager
def _noise_from(generator: torch.Generator) -> Iterator[None]:
    def randn_like(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator)

    with patch.object(torch, "randn_like", randn_like):
        yield


@contextmanager
def _blocks_see(transformer: Any, *, all_others: bool) -> Iterator[None]:
    """The pipeline always hides later blocks from earlier ones; without being told of blocks, the model does not."""
    if not all_others:
        yield
        return
    with patch.object(transformer, "_set_ar_attention", lambda _block_size: None):
        yield
