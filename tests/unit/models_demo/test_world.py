"""The small world: what is drawn is what was said, the same at any size and everywhere."""

import random

import pytest
import torch

from models_demo.world import COLOURS, MOTIONS, STILL, Combination, Scene, View, draw, placed, random_combination, tones


def a_scene(**changes):
    told = {
        "shape": "square",
        "colour": "red",
        "size": "small",
        "motion": "right",
        "speed": "quickly",
        "background": "blue",
        "pattern": "plain",
    }
    return Scene(Combination(**{**told, **changes}), x=100.0, y=80.0, stripe=130.0)


def colour_at(picture, x, y):
    return ((picture[:, y, x] + 1) / 2).tolist()


def test_a_shape_is_where_its_speed_has_brought_it_and_nowhere_else():
    start, later = draw(a_scene(), [0, 8], View(160, 320))
    red, blue = pytest.approx(COLOURS["red"], abs=1e-3), pytest.approx(tones("blue")[0], abs=1e-3)
    assert colour_at(start, 100, 80) == red
    assert colour_at(start, 200, 80) == blue
    assert colour_at(later, 140, 80) == red
    assert colour_at(later, 100 - 8, 80) == blue


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_part_of_a_picture_is_cut_from_the_whole(motion):
    scene = a_scene(motion=motion, pattern="striped")
    whole = draw(scene, [0, 5], View(160, 320))
    part = draw(scene, [0, 5], View(64, 96, top=32, left=64))
    assert torch.allclose(part, whole[..., 32:96, 64:160], atol=1e-5)


def test_a_smaller_drawing_is_the_picture_seen_from_further_away():
    scene = a_scene(shape="circle", pattern="striped")
    small = draw(scene, [3], View(160, 320, step=4))
    shrunk = torch.nn.functional.avg_pool2d(draw(scene, [3], View(160, 320)), 4)
    assert small.shape == shrunk.shape
    assert (small - shrunk).abs().mean() < 0.01


def test_before_a_moving_camera_everything_moves_and_otherwise_the_background_stays():
    def behind(motion):
        start, later = draw(a_scene(motion=motion, pattern="striped"), [0, 6], View(160, 320))
        return start[:, 5], later[:, 5]  # a row above the shape

    start, later = behind("right")
    assert torch.equal(start, later)
    start, later = behind("pans right")
    assert torch.allclose(start[:, 30:], later[:, :-30], atol=1e-5)


def test_a_zoom_makes_the_shape_larger_or_smaller_in_its_place():
    def area(motion):
        pictures = draw(a_scene(motion=motion), [0, 40], View(160, 320))
        return (pictures[:, 0] > 0.5).sum(dim=(1, 2)).tolist()

    first, later = area("zooms in")
    assert later > 1.3 * first
    first, later = area("zooms out")
    assert later < 0.8 * first


def test_placed_shapes_stay_in_sight_when_their_way_is_short_enough():
    dice = random.Random(1)
    for _ in range(200):
        combination = random_combination(dice)
        scene = placed(combination, 17, 544, 960, dice)
        assert 0 < scene.x < 960
        assert 0 < scene.y < 544


def test_one_combination_in_ten_is_held_out_the_same_ones_everywhere():
    dice = random.Random(2)
    held_out = [random_combination(dice).is_held_out for _ in range(3000)]
    assert 0.08 < sum(held_out) / len(held_out) < 0.12
    assert Combination("ring", "red", "small", STILL, "steadily", "blue", "plain").is_held_out is False
