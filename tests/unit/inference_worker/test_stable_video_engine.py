"""Traps of the Stable Video Diffusion pipeline."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from services.inference_worker.adapters.engines.device import to_uint8
from services.inference_worker.adapters.engines.stable_video_diffusion import StableVideoDiffusionEngine
from services.inference_worker.domain.errors import EngineFailed, OutOfMemory


def test_a_prompt_has_no_effect_and_does_no_harm(svd, svd_inputs, make):
    plain = make(svd, svd_inputs())
    assert np.array_equal(plain.frames, make(svd, svd_inputs(prompt="pan left", negative_prompt="blur")).frames)
    assert plain.warnings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 9.0},
        {"min_guidance_scale": 2.5},
        {"motion_bucket_id": 20},
        {"noise_aug_strength": 0.8},
        {"fps": 24},
        {"num_inference_steps": 5},
        {"decode_chunk_size": 4},
    ],
)
def test_every_other_parameter_changes_the_picture(svd, svd_inputs, make, changes):
    assert not np.array_equal(make(svd, svd_inputs()).frames, make(svd, svd_inputs(**changes)).frames)


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_pictures_that_the_pipeline_itself_cannot_take_are_converted(svd, svd_inputs, data_uri, make, mode):
    assert make(svd, svd_inputs(image=data_uri(Image.new(mode, (32, 32))))).frames.shape == (4, 64, 64, 3)


def test_a_stretched_image_is_told(svd, svd_inputs, make):
    assert "aspect ratio" in make(svd, svd_inputs(width=128)).warnings[0]


def test_guidance_can_be_off(svd, svd_inputs, make):
    make(svd, svd_inputs(guidance_scale=1.0))


@pytest.mark.parametrize("size", [(64, 320), (192, 64), (320, 192)])
def test_every_multiple_of_64_is_a_size(svd, svd_inputs, make, size):
    width, height = size
    inputs = svd_inputs(width=width, height=height, num_frames=2, num_inference_steps=1)
    assert make(svd, inputs).frames.shape == (2, height, width, 3)


@pytest.fixture(scope="module")
def half_precision(svd):
    """An engine with its VAE as a GPU has it; its own, because what is rounded once stays so."""
    pipeline = copy.copy(svd._pipeline)
    pipeline.vae = copy.deepcopy(pipeline.vae).to(dtype=torch.float16)
    return StableVideoDiffusionEngine(pipeline, torch.device("cpu"), svd.shares)


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (MemoryError(), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), OutOfMemory),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_a_vae_interrupted_while_it_encodes_goes_back_to_half_precision(
    half_precision, svd_inputs, make, monkeypatch, error, fact
):
    vae, seen = half_precision._pipeline.vae, []

    def fail(*_args, **_kwargs):
        seen.append(vae.dtype)
        raise error

    monkeypatch.setattr(vae, "encode", fail)  # running out of memory cannot be had on cue
    with pytest.raises(fact):
        make(half_precision, svd_inputs())
    assert seen == [torch.float32]
    assert vae.dtype == torch.float16


def test_a_model_that_makes_numbers_that_are_not_finite_fails_instead_of_showing_black(
    svd, svd_inputs, make, monkeypatch
):
    monkeypatch.setattr(svd, "_denoised", lambda *_: torch.full((1, 4, 4, 2, 2), float("nan")))
    with pytest.raises(EngineFailed, match="finite"):
        make(svd, svd_inputs())


def test_pixels_are_rounded_not_cut_off():
    values = torch.tensor([-1.0, -0.9999, 0.0, 0.9985, 1.0, 1.5, -3.0])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0]
