"""Reading: what was drawn is read back, and what is no picture of the world is not taken for one."""

import random
from dataclasses import replace

import pytest
import torch

from models_demo.reading import panned, read
from models_demo.textures import texture
from models_demo.world import CHOICES, Combination, View, draw, placed, random_combination

FRAMES = 13


def video_of(combination, dice, height=320, width=512):
    scene = placed(combination, FRAMES, height, width, dice)
    return ((draw(scene, range(FRAMES), View(height, width)) + 1) * 127.5).round().permute(0, 2, 3, 1)


@pytest.mark.parametrize("field", CHOICES)
def test_what_was_drawn_is_read_back_whatever_it_is(field):
    dice = random.Random(field)
    for choice in CHOICES[field]:
        combination = replace(random_combination(dice), **{field: choice})
        if combination.colour == combination.background or (
            combination.motion.startswith("pans") and combination.pattern == "plain"
        ):
            continue
        found = read(video_of(combination, dice))
        assert found.differences(combination) == [], (combination, found)


def test_noise_is_no_shape():
    noise = torch.randint(0, 256, (12, 128, 192, 3), generator=torch.Generator().manual_seed(1))
    found = read(noise)
    assert found.shape is None or found.motion is None


def test_an_empty_background_has_nothing_in_front():
    asked = Combination("circle", "red", "small", "still", "steadily", "green", "plain")
    empty = torch.tensor([117, 177, 115]).expand(8, 128, 128, 3)
    found = read(empty)
    assert found.background == "green"
    assert {"shape", "colour", "motion"} <= set(found.differences(asked))


def test_each_difference_is_told():
    asked = Combination("circle", "red", "small", "left", "slowly", "green", "plain")
    shown = replace(asked, colour="blue", motion="right", speed="quickly")
    found = read(video_of(shown, random.Random(4)))
    assert found.differences(asked) == ["colour", "motion", "speed"]


@pytest.mark.parametrize("pixels", [0.0, 0.6, 2.0, 4.0])
def test_how_fast_a_camera_pans_is_read_from_any_picture(pixels):
    wide = texture(192, 448, 3)
    frames = []
    for number in range(13):
        left = int(pixels * number)
        part = pixels * number - left
        frames.append(wide[:, :, left : left + 256] * (1 - part) + wide[:, :, left + 1 : left + 257] * part)
    video = ((torch.stack(frames) + 1) * 127.5).round().permute(0, 2, 3, 1)
    assert panned(video) == pytest.approx(pixels, abs=0.1)
