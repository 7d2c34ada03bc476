"""Traps of the SkyReels-V2 pipeline."""

import numpy as np
import pytest
import torch

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.engines.device import to_uint8
from services.inference_worker.domain.inputs import SkyReelsInputs

BLOCKS = {"num_frames": 29, "causal_block_size": 1, "ar_step": 0}
LONG = {
    "num_frames": 25,
    "base_num_frames": 17,
    "overlap_history": 5,
    "addnoise_condition": 20,
    "num_inference_steps": 3,
}


def test_blocks_that_lag_behind_each_other_take_more_steps_than_asked_for_and_all_are_reported(
    skyreels, skyreels_inputs, listener
):
    ear = listener()
    # 25 latent frames in 5 blocks of 5, as in the page's example: 20 + 5 * 4.
    inputs = skyreels_inputs(num_frames=97, num_inference_steps=20, ar_step=5, causal_block_size=5)
    skyreels.render(inputs, ear.report, ear)
    assert ear.steps == [(done, 40) for done in range(41)]


def test_a_block_size_does_not_leak_into_later_clips(skyreels, skyreels_inputs, make):
    inputs = skyreels_inputs(num_frames=29)
    before = make(skyreels, inputs).frames
    make(skyreels, skyreels_inputs(num_frames=29, causal_block_size=4, ar_step=2))
    assert skyreels._pipeline.transformer.config.num_frame_per_block == 1
    assert np.array_equal(before, make(skyreels, inputs).frames)


def test_latent_frames_that_do_not_fill_a_block_are_refused(skyreels, skyreels_inputs, make):
    with pytest.raises(InvalidInput, match="causal_block_size"):
        make(skyreels, skyreels_inputs(num_frames=13, causal_block_size=3))


def test_long_videos_come_out_the_same_for_the_same_seed_whatever_else_draws_noise(skyreels, skyreels_inputs, make):
    first = make(skyreels, skyreels_inputs(**LONG)).frames
    torch.manual_seed(123)
    torch.randn(7)
    state = torch.random.get_rng_state()
    second = make(skyreels, skyreels_inputs(**LONG)).frames
    assert first.shape == (25, 64, 64, 3)
    assert np.array_equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


def test_steps_of_all_windows_are_counted(skyreels, skyreels_inputs, listener):
    ear = listener()
    skyreels.render(skyreels_inputs(**LONG), ear.report, ear)
    assert ear.steps[-1] == (6, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 3.0},
        {"causal_block_size": 4},
        {"ar_step": 1},
        {"num_inference_steps": 6},
        {"fps": 16},
    ],
)
def test_every_parameter_changes_the_picture(skyreels, skyreels_inputs, make, changes):
    before = make(skyreels, skyreels_inputs(**BLOCKS)).frames
    assert not np.array_equal(before, make(skyreels, skyreels_inputs(**{**BLOCKS, **changes})).frames)


@pytest.mark.parametrize("changes", [{"addnoise_condition": 50}, {"overlap_history": 9}])
def test_every_parameter_of_long_videos_changes_the_picture(skyreels, skyreels_inputs, make, changes):
    before = make(skyreels, skyreels_inputs(**LONG)).frames
    assert not np.array_equal(before, make(skyreels, skyreels_inputs(**{**LONG, **changes})).frames)


def test_the_model_knows_two_frame_rates_and_the_file_gets_the_requested_one(skyreels, skyreels_inputs, make):
    slow, fast = (make(skyreels, skyreels_inputs(fps=fps)) for fps in (8, 30))
    assert (slow.fps, fast.fps) == (8, 30)
    assert np.array_equal(slow.frames, fast.frames)


@pytest.mark.parametrize("size", [(80, 64), (64, 112), (208, 144)])
def test_every_multiple_of_16_is_a_size(skyreels, skyreels_inputs, make, size):
    width, height = size
    inputs = skyreels_inputs(width=width, height=height, num_frames=5, num_inference_steps=1)
    assert make(skyreels, inputs).frames.shape == (5, height, width, 3)


@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_every_4k_plus_1_is_a_length(skyreels, skyreels_inputs, make, num_frames):
    inputs = skyreels_inputs(num_frames=num_frames, num_inference_steps=1)
    assert len(make(skyreels, inputs).frames) == num_frames


@pytest.mark.parametrize("prompt", ["", "日本の猫 🐈‍⬛", "e\u0301\u202e\x00\x07", "word " * 90])
def test_a_prompt_is_any_text(skyreels, skyreels_inputs, make, prompt):
    assert make(skyreels, skyreels_inputs(prompt=prompt, num_frames=1, num_inference_steps=1)).warnings == ()


def test_a_prompt_that_the_model_reads_only_in_part_is_told_without_repeating_it(skyreels, skyreels_inputs, make):
    inputs = skyreels_inputs(prompt="secret " * 100, num_frames=1, num_inference_steps=1)
    (warning,) = make(skyreels, inputs).warnings
    assert "first 512 tokens" in warning
    assert "secret" not in warning


def test_more_steps_than_the_model_tells_apart_are_refused(skyreels, skyreels_inputs, make):
    with pytest.raises(InvalidInput, match="num_inference_steps"):
        make(skyreels, skyreels_inputs(num_inference_steps=400))


def test_guidance_can_be_off(skyreels, skyreels_inputs, make):
    make(skyreels, skyreels_inputs(guidance_scale=1.0))


def test_decoding_piece_by_piece_gives_what_the_model_gives_at_once(skyreels, skyreels_inputs, listener):
    pipeline, latents = skyreels._pipeline, torch.randn(1, 16, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(values).view(1, 16, 1, 1, 1)
        for values in (pipeline.vae.config.latents_mean, pipeline.vae.config.latents_std)
    )
    with torch.no_grad():
        at_once = pipeline.vae.decode(latents / (1.0 / std) + mean).sample
    ear = listener()
    with torch.no_grad():
        pieces = skyreels._decoded(latents, SkyReelsInputs.read(skyreels_inputs()), ear.report, ear)
    assert np.array_equal(pieces, to_uint8(at_once)[0].permute(1, 2, 3, 0).numpy())
