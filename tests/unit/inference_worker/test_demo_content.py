"""What videos of the demo weights show: what was asked for, however they are made."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.demo_content import likeness, unseen
from models_demo.captions import sentence
from models_demo.reading import panned, read
from models_demo.world import Combination, held_out, pan_speed
from services.inference_worker.domain.errors import RenderStopped
from tests.unit.inference_worker.threads import one_thread

MATTERS = {"shape", "colour", "motion", "speed"}
MODES = {
    "in step": {},
    "lagging blocks": {"mode": "async_full", "causal_block_size": 2, "ar_step": 3, "num_frames": 21},
    "causal": {"mode": "causal", "causal_block_size": 2, "ar_step": 3, "num_frames": 21},
}

RING = Combination("ring", "white", "medium", "right", "quickly", "blue", "plain")


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def engines(load):
    found = {}

    def engine(slug="skyreels"):
        if slug not in found:
            found[slug] = load(slug, source="demo")
        return found[slug]

    return engine


def asked_for(what, **changes):
    prompt = what if isinstance(what, str) else sentence(what)
    common = {"prompt": prompt, "negative_prompt": "", "width": 384, "height": 320, "num_frames": 17}
    return {**common, "num_inference_steps": 12, "guidance_scale": 6.0, "fps": 24, "seed": 5, **changes}


def wrong(frames, combination):
    """What matters and is other than was asked."""
    return MATTERS & set(read(torch.from_numpy(frames.copy())).differences(combination))


@pytest.mark.cut_short
def test_videos_show_combinations_that_were_never_trained_on(engines, make, request):
    count = 40 if request.config.getoption("--full-size") else 5
    size = {"width": 512, "num_frames": 29, "num_inference_steps": 20}  # as the bench, with its seeds
    asked = [(what, asked_for(what, seed=seed, **size)) for seed, what in enumerate(held_out(count))]
    right = [not wrong(make(engines(), inputs).frames, what) for what, inputs in asked]
    assert sum(right) >= 0.9 * count


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_same(engines, make, mode):
    assert not wrong(make(engines(), asked_for(RING, **MODES[mode])).frames, RING)


def test_wan_shows_the_same(engines, make):
    assert not wrong(make(engines("wan"), asked_for(RING, fps=16)).frames, RING)


def test_resumed_and_repeated_after_a_stop_it_is_the_same_video(engines, make, listener):
    engine, inputs = engines(), asked_for(RING)
    whole = make(engine, inputs).frames
    stopped = listener(lambda moment: moment.done_steps == 4)
    stopped.takes_checkpoints = True
    with pytest.raises(RenderStopped):
        engine.render(inputs, stopped)
    resumed, repeated = listener(), listener()
    engine.render(inputs, resumed, stopped.checkpoints[4])
    engine.render(inputs, repeated)
    assert np.array_equal(resumed.frames, whole)
    assert np.array_equal(repeated.frames, whole)
    assert not wrong(whole, RING)


def test_another_seed_puts_the_same_scene_elsewhere(engines, make):
    first, second = (make(engines(), asked_for(RING, seed=seed)).frames for seed in (1, 2))
    assert not wrong(first, RING) | wrong(second, RING)
    assert np.abs(first.astype(int) - second).mean() > 5


def test_another_prompt_changes_what_it_names(engines, make):
    green = replace(RING, colour="green")
    assert not wrong(make(engines(), asked_for(green)).frames, green)


def test_more_guidance_changes_the_video_but_not_what_it_shows(engines, make):
    less, more = (make(engines(), asked_for(RING, guidance_scale=scale)).frames for scale in (3, 8))
    assert not wrong(less, RING) | wrong(more, RING)
    assert not np.array_equal(less, more)


def test_more_steps_change_the_video_but_not_what_it_shows(engines, make):
    few, many = (make(engines(), asked_for(RING, num_inference_steps=steps)).frames for steps in (8, 24))
    assert not wrong(few, RING) | wrong(many, RING)
    assert not np.array_equal(few, many)


@pytest.fixture(scope="module")
def pictures():
    """Some that were not trained on: of another world, and of this one."""
    return [unseen(number, height=192, width=256) for number in (1, 0)]


@pytest.fixture
def moved(engines, make, data_uri):
    """Makes the video of a picture."""

    def video(picture, **changes):
        size = {"width": 256, "height": 192, "num_frames": 8, "num_inference_steps": 8, "guidance_scale": 3.0}
        inputs = {**size, "image": data_uri(Image.fromarray(picture)), "fps": 7, "seed": 5, **changes}
        return make(engines("svd"), inputs).frames

    return video


def test_a_picture_is_kept_and_the_camera_goes_over_it_as_fast_as_asked(moved, pictures):
    for picture, bucket in zip((*pictures, pictures[0]), (255, 255, 64), strict=True):
        video = moved(picture, motion_bucket_id=bucket)
        assert likeness(video[0], picture) >= 22
        assert panned(torch.from_numpy(video.copy())) == pytest.approx(pan_speed(bucket), abs=0.5, rel=0.25)


def test_another_seed_and_guidance_move_a_picture_alike_but_not_the_same(moved, pictures):
    one, other = (moved(pictures[0], **change) for change in ({}, {"seed": 6, "guidance_scale": 2.0}))
    assert not np.array_equal(one, other)
    assert likeness(one, other) >= 20
