"""Sketches: latents from which scenes are read back, and which keep of any picture what two colours a cell can."""

import random

import pytest
import torch
from torch.nn.functional import avg_pool2d

from models_demo.reading import read
from models_demo.textures import texture
from models_demo.training.cells import STEP
from models_demo.training.sketches import CHANNELS_OF, sketches
from models_demo.world import MOTIONS, SPEEDS, placed, random_combination

FRAMES, HEIGHT, WIDTH = 13, 320, 448


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return sketches(tmp_path_factory.mktemp("sketches"), 0.02)


def scenes(count, motion=None):
    dice = random.Random(3)
    found = []
    while len(found) < count:
        combination = random_combination(dice)
        if motion in (None, combination.motion):
            found.append(placed(combination, FRAMES, HEIGHT, WIDTH, dice))
    return found


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_scene_is_read_back_from_its_sketch(code, motion):
    drawn = scenes(1, motion)
    shown = code.shown(code.of_scenes(drawn, FRAMES, HEIGHT, WIDTH))
    assert shown.shape == (1, FRAMES, 3, HEIGHT // STEP, WIDTH // STEP)
    for scene, video in zip(drawn, shown, strict=True):
        pixels = ((video + 1) * 127.5).round().permute(0, 2, 3, 1)
        large = pixels.repeat_interleave(STEP, 1).repeat_interleave(STEP, 2)
        found = read(large)
        assert (found.shape, found.colour, found.background) == (
            scene.combination.shape,
            scene.combination.colour,
            scene.combination.background,
        )
        assert "motion" not in found.differences(scene.combination)


def test_colours_are_the_same_in_all_cells_of_a_scene(code):
    latents = code.of_scenes(scenes(3), FRAMES, HEIGHT, WIDTH)
    for part in (CHANNELS_OF.behind, CHANNELS_OF.colour):
        assert torch.equal(latents[:, part], latents[:, part, :1, :1, :1].expand_as(latents[:, part]))


def test_offsets_are_nothing_where_the_shape_is_and_grow_from_there(code):
    scene = scenes(1, "still")[0]
    x, y = code.of_scenes([scene], FRAMES, HEIGHT, WIDTH)[0, CHANNELS_OF.offsets, 0]
    row, column = (int(place // 32) for place in (scene.y, scene.x))
    assert x[row, column].abs() < 0.5
    assert y[row, column].abs() < 0.5
    assert (x.diff(dim=1) > 0).all()
    assert (y.diff(dim=0) > 0).all()


def test_any_picture_is_kept_in_two_colours_a_cell(code):
    picture = avg_pool2d(texture(256, 320, 5), STEP)[None, None].expand(1, 5, -1, -1, -1)
    kept = code.shown(code.of_pictures(picture))
    blurred = avg_pool2d(picture[0, 0], 8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert (kept[0, 4] - picture[0, 4]).abs().mean() < 0.9 * (blurred - picture[0, 0]).abs().mean()


def test_a_scene_in_a_view_cut_from_another_has_the_same_latents(code):
    whole = code.of_scenes(scenes(1), FRAMES, HEIGHT, WIDTH)
    smaller = code.of_scenes(scenes(1), FRAMES, HEIGHT - 64, WIDTH - 128)
    assert torch.allclose(whole[..., :8, :10], smaller, atol=1e-4)


def test_where_the_shape_is_follows_from_its_place_and_the_time(code):
    scene = scenes(1, "right")[0]
    latents = code.of_scenes([scene], FRAMES, HEIGHT, WIDTH)[0]
    far = 7.5
    place, offsets = (288 * torch.atanh(latents[part][0] / far) for part in (CHANNELS_OF.place, CHANNELS_OF.offsets))
    frames = latents[CHANNELS_OF.time][0] * 10
    moved = place - SPEEDS[scene.combination.speed] * frames
    assert torch.allclose(offsets[1:], moved[1:], atol=2)
