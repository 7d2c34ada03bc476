"""Rules of the inputs and of the windows a long video is made in."""

import math

import pytest

from services.chassis.errors import InvalidInput
from services.inference_worker.domain.inputs.skyreels import Mode, SkyReelsInputs, Window
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs

EXAMPLE = {
    "fps": 24,
    "seed": 77,
    "width": 960,
    "height": 544,
    "prompt": "p",
    "ar_step": 5,
    "num_frames": 97,
    "guidance_scale": 6,
    "base_num_frames": 97,
    "negative_prompt": "n",
    "causal_block_size": 5,
    "addnoise_condition": 20,
    "num_inference_steps": 20,
}


def fields_refused(read, inputs) -> set[str]:
    with pytest.raises(InvalidInput) as caught:
        read(inputs)
    return {violation.field for violation in caught.value.violations}


def test_the_pages_skyreels_example_is_read_as_it_stands():
    read = SkyReelsInputs.read(EXAMPLE)
    assert (read.width, read.height, read.num_frames, read.fps, read.seed) == (960, 544, 97, 24, 77)
    assert (read.ar_step, read.block, read.guidance_scale, read.addnoise_condition) == (5, 5, 6.0, 20.0)
    assert read.windows() == (Window(25, 0),)


def test_guidance_scale_of_svd_is_the_guidance_of_the_last_frame():
    read = StableVideoInputs.read({"image": "data:", "guidance_scale": 7.5, "prompt": "ignored"})
    assert (read.min_guidance_scale, read.max_guidance_scale) == (1.0, 7.5)


def test_all_that_is_wrong_is_told_at_once():
    wrong = {"width": 65, "height": "tall", "num_frames": 24.5, "seed": -1, "fps": True, "speed": 3}
    assert fields_refused(StableVideoInputs.read, wrong) == {"image", *wrong}


@pytest.mark.parametrize("value", [math.nan, math.inf, "6", True])
def test_only_finite_numbers_are_numbers(value):
    assert fields_refused(SkyReelsInputs.read, {**EXAMPLE, "guidance_scale": value}) == {"guidance_scale"}


def test_no_value_is_repeated_in_what_is_said_about_it():
    with pytest.raises(InvalidInput) as caught:
        SkyReelsInputs.read({"prompt": ["a secret prompt"], "num_frames": "a secret number"})
    assert "secret" not in str(caught.value)


def test_guidance_that_only_the_first_frame_has_is_refused_because_the_pipeline_would_crash():
    inputs = {"image": "data:", "guidance_scale": 1, "min_guidance_scale": 2}
    assert fields_refused(StableVideoInputs.read, inputs) == {"min_guidance_scale"}


@pytest.mark.parametrize("num_frames", [96, 98, 100])
def test_frames_that_are_not_4k_plus_1_are_refused(num_frames):
    assert fields_refused(SkyReelsInputs.read, {**EXAMPLE, "num_frames": num_frames}) == {"num_frames"}


def test_latent_frames_that_do_not_fill_a_block_are_refused_because_they_would_stay_noise():
    inputs = {**EXAMPLE, "num_frames": 121, "base_num_frames": 121}  # 31 latent frames
    assert fields_refused(SkyReelsInputs.read, inputs) == {"causal_block_size"}


def test_a_long_video_needs_an_overlap_shorter_than_its_window():
    long = {**EXAMPLE, "num_frames": 177}
    assert fields_refused(SkyReelsInputs.read, long) == {"overlap_history"}
    assert fields_refused(SkyReelsInputs.read, {**long, "overlap_history": 97}) == {"overlap_history"}


def test_a_long_video_is_made_in_windows_that_take_over_whole_blocks():
    inputs = {**EXAMPLE, "num_frames": 177, "overlap_history": 17}  # 45 latent frames, windows of 25 that overlap by 5
    assert SkyReelsInputs.read(inputs).windows() == (Window(25, 0), Window(25, 5))


def test_the_last_window_must_fill_its_blocks_too():
    inputs = {**EXAMPLE, "num_frames": 181, "overlap_history": 17}  # 46 latent frames: one is left over
    assert fields_refused(SkyReelsInputs.read, inputs) == {"causal_block_size"}


def test_an_overlap_has_no_effect_on_a_video_that_fits_one_window():
    assert SkyReelsInputs.read({**EXAMPLE, "overlap_history": 17}).windows() == (Window(25, 0),)


def test_an_absent_block_size_means_blocks_of_one():
    assert SkyReelsInputs.read({"prompt": "p", "causal_block_size": None}).block == 1


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, Mode.CAUSAL),
        ({"ar_step": 0}, Mode.CAUSAL),
        ({"causal_block_size": 1}, Mode.ASYNC_FULL),
        ({"causal_block_size": None, "ar_step": 0}, Mode.SYNC),
        ({"causal_block_size": 1, "ar_step": 0}, Mode.SYNC),
        ({"mode": None}, Mode.CAUSAL),
    ],
)
def test_without_a_mode_it_is_the_one_that_diffusers_would_use(changes, mode):
    assert SkyReelsInputs.read({**EXAMPLE, **changes}).mode is mode


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("causal", {}),
        ("causal", {"ar_step": 0}),
        ("sync", {"causal_block_size": None, "ar_step": 0}),
        ("async_full", {}),
        ("async_full", {"causal_block_size": 1}),
    ],
)
def test_a_mode_can_be_asked_for(mode, changes):
    assert SkyReelsInputs.read({**EXAMPLE, **changes, "mode": mode}).mode is Mode(mode)


@pytest.mark.parametrize(
    ("mode", "changes", "remedy"),
    [
        ("causal", {"causal_block_size": 1}, "causal_block_size above 1"),
        ("causal", {"causal_block_size": None, "ar_step": 0}, "causal_block_size above 1"),
        ("sync", {}, "set ar_step to 0"),
        ("sync", {"ar_step": 0}, "leave causal_block_size out"),
        ("async_full", {"ar_step": 0}, "ar_step above 0"),
        ("fast", {}, "one of causal, sync, async_full"),
        (3, {}, "one of causal, sync, async_full"),
    ],
)
def test_a_mode_that_contradicts_the_rest_is_refused_with_a_remedy(mode, changes, remedy):
    inputs = {**EXAMPLE, **changes, "mode": mode}
    assert fields_refused(SkyReelsInputs.read, inputs) == {"mode"}
    with pytest.raises(InvalidInput, match=remedy):
        SkyReelsInputs.read(inputs)
