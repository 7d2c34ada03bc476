"""Sketches: latents that tell what is in a scene and where, and of any other picture what two colours a cell can."""

import random
from dataclasses import replace

import pytest
import torch

from models_demo.training.sketches import CHANNELS_OF, sketches
from models_demo.world import CHOICES, PERIOD, SHAPES, SPEEDS, placed, random_combination

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


FIELDS = {
    "shape": {"shape", "edges"},
    "colour": {"colour"},
    "background": {"behind"},
    "size": {"radius", "edges"},
    "pattern": {"pattern", "stripes"},
    "speed": {"way", "place", "offsets", "edges"},
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_said_of_a_scene_shows_in_its_own_channels_and_no_others(code, field):
    scene = scenes(1, "left")[0]
    for choice in set(CHOICES[field]) - {getattr(scene.combination, field)}:
        other = replace(scene, combination=replace(scene.combination, **{field: choice}))
        one, two = code.of_scenes([scene, other], FRAMES, HEIGHT, WIDTH)
        differ = {name for name, part in CHANNELS_OF._asdict().items() if not torch.equal(one[part], two[part])}
        assert differ == FIELDS[field]


def test_every_cell_knows_what_is_in_the_scene(code):
    latents = code.of_scenes(scenes(3), FRAMES, HEIGHT, WIDTH)
    for part in (CHANNELS_OF.behind, CHANNELS_OF.colour, CHANNELS_OF.shape, CHANNELS_OF.pattern, CHANNELS_OF.way):
        assert torch.equal(latents[:, part], latents[:, part, :1, :1, :1].expand_as(latents[:, part]))


def test_stripes_go_with_the_camera_and_stay_where_only_the_shape_moves(code):
    for motion, part in (("pans left", CHANNELS_OF.offsets), ("right", CHANNELS_OF.place)):
        scene = scenes(1, motion)[0]
        striped = replace(scene, combination=replace(scene.combination, pattern="striped"))
        latents = code.of_scenes([striped], FRAMES, HEIGHT, WIDTH)[0, :, 1:, 0]
        across = 288 * torch.atanh(latents[part][0] / 7.5)
        near = across.abs() < 250
        wanted = torch.stack([(across * 2 * torch.pi / PERIOD).cos(), (across * 2 * torch.pi / PERIOD).sin()])
        assert (latents[CHANNELS_OF.stripes] - wanted).abs().amax(0)[near].max() < 0.1


def test_a_cell_knows_whether_stripes_stay_go_with_the_shape_or_are_not_there(code):
    said = {}
    for motion, pattern in (("right", "plain"), ("right", "striped"), ("pans left", "striped")):
        scene = scenes(1, motion)[0]
        scene = replace(scene, combination=replace(scene.combination, pattern=pattern))
        said[motion, pattern] = code.of_scenes([scene], FRAMES, HEIGHT, WIDTH)[0, CHANNELS_OF.pattern, 0, 0, 0].item()
    plain, stay, go_along = said.values()
    assert plain < 0 < stay < go_along


def test_a_mistaken_sketch_has_other_outlines_yet_says_the_same_of_everything_else(code):
    drawn = scenes(24)
    right = code.of_scenes(drawn, FRAMES, HEIGHT, WIDTH)
    mistaken = code.mistaken(drawn, FRAMES, HEIGHT, WIDTH, random.Random(1))
    amiss = (mistaken != right).flatten(2).any(dim=2)
    assert not amiss[:, : CHANNELS_OF.edges.start].any()
    assert not amiss[:, CHANNELS_OF.edges.stop :].any()
    assert 0 < amiss[:, CHANNELS_OF.edges.start].sum() < len(drawn)


def test_offsets_are_nothing_where_the_shape_is_and_grow_from_there(code):
    scene = scenes(1, "still")[0]
    x, y = code.of_scenes([scene], FRAMES, HEIGHT, WIDTH)[0, CHANNELS_OF.offsets, 0]
    row, column = (int(place // 32) for place in (scene.y, scene.x))
    assert x[row, column].abs() < 0.5
    assert y[row, column].abs() < 0.5
    assert (x.diff(dim=1) > 0).all()
    assert (y.diff(dim=0) > 0).all()


def test_cells_in_a_shape_are_inside_its_edge_and_those_in_the_middle_of_a_ring_in_its_hole(code):
    scene = scenes(1, "still")[0]
    row, column = (int(place // 32) for place in (scene.y, scene.x))
    for shape in SHAPES:
        one = replace(scene, combination=replace(scene.combination, shape=shape, size="large"))
        outside, in_hole = code.of_scenes([one], FRAMES, HEIGHT, WIDTH)[0, CHANNELS_OF.edges, 0]
        assert outside[row, column] < -1
        assert outside.max() > 1
        assert (in_hole[row, column] > 1).item() is (shape == "ring")
        assert (in_hole > 0).any() == (shape == "ring")


def test_of_other_pictures_each_cell_has_its_darker_and_its_brighter_colour(code):
    dark, bright = (torch.tensor(colour).view(3, 1, 1) for colour in ((-0.9, -0.6, -0.8), (0.5, 0.9, 0.7)))
    left = (torch.arange(64) % 8 < 4).float().expand(64, 64)
    pictures = torch.stack([bright * left + dark * (1 - left), bright * (1 - left) + dark * left])
    latents = code.of_pictures(pictures[:, None].expand(-1, 5, -1, -1, -1))
    for part, colour, scale in ((CHANNELS_OF.behind, dark, 2.0), (CHANNELS_OF.colour, bright, 1.3)):
        assert torch.allclose(latents[:, part], (colour * scale)[None, :, None].expand_as(latents[:, part]), atol=1e-4)
    one, other = latents[:, CHANNELS_OF.mask]
    assert (one - other).abs().mean() > 0.3
    assert not latents[:, CHANNELS_OF.shape].any()


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


def test_how_large_the_shape_is_follows_from_the_growth_that_all_cells_know(code):
    scene = scenes(1, "zooms in")[0]
    latents = code.of_scenes([scene], FRAMES, HEIGHT, WIDTH)[0]
    growth, radius = (latents[part][0] for part in (CHANNELS_OF.growth, CHANNELS_OF.radius))
    assert torch.equal(growth, growth[:1, :1, :1].expand_as(growth))
    assert growth.min() > 0
    grown = radius.diff(dim=0)[1:]
    assert torch.allclose(grown, growth[2:] * grown[0, 0, 0] / growth[0, 0, 0], atol=1e-3)
    assert grown.min() > 0
