"""Moments on the way that guidance takes: what is wanted there is what was asked for."""

import random

import pytest
import torch

from models_demo.captions import sentence
from models_demo.training import own_way
from models_demo.training.forward import Texts
from models_demo.training.noise import staircase
from models_demo.training.own_way import OwnWay
from models_demo.training.sketches import CHANNELS_OF, places, sketches
from models_demo.world import MOTIONS, SIZES, SPEEDS, Combination, half_way_at, placed, random_combination

SIZE = FRAMES, ROWS, COLUMNS = 4, 6, 8
PICTURES = 4 * (FRAMES - 1) + 1
ASKED = Combination("ring", "white", "medium", "right", "steadily", "blue", "striped")
OTHER = Combination("square", "red", "large", "left", "quickly", "green", "plain")


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return sketches(tmp_path_factory.mktemp("sketches"), 0.02)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_scene_is_known_by_what_it_is_and_where_it_is_half_way(code, motion):
    dice = random.Random(2)
    while (what := random_combination(dice)).motion != motion:
        pass
    latents = code.of_scenes([placed(what, PICTURES, ROWS * 32, COLUMNS * 32, dice)], PICTURES, ROWS * 32, COLUMNS * 32)
    ((x, y),) = places(latents)
    again = code.of_scenes([half_way_at(what, x, y, (PICTURES - 1) / 2)], PICTURES, ROWS * 32, COLUMNS * 32)
    assert torch.allclose(again, latents, atol=1e-4)


def told_or_not(texts):
    return Texts(torch.zeros(0), torch.tensor([len(text) for text in texts]))


@pytest.fixture
def own(code, monkeypatch):
    """The way of a model that foretells, told of it, the scene that was asked for, and untold another one."""
    scenes = [half_way_at(what, 100.0, 80.0, (PICTURES - 1) / 2) for what in (ASKED, OTHER)]
    asked, other = code.of_scenes(scenes, PICTURES, ROWS * 32, COLUMNS * 32)

    def foretold(_model, latents, moments, texts, *, slow, block):
        foreseen = torch.stack([asked if is_told else other for is_told in texts.weight.tolist()])
        return (latents - foreseen) / (moments[:, None, :, None, None] / 1000).clamp(min=1e-3)

    monkeypatch.setattr(own_way, "predicted", foretold)
    monkeypatch.setattr(own_way, "any_scene", lambda _dice: ASKED)

    torch.manual_seed(4)
    return OwnWay(None, code, told_or_not), asked


@pytest.mark.parametrize(("block", "lag"), [(None, 0.0), (2, 0.3)])
def test_wanted_is_what_was_asked_for_wherever_guidance_led(own, block, lag):
    way, asked = own
    found, texts, slow = way.moments(SIZE, 24, staircase(FRAMES, 10, block, lag), block, random.Random(4))
    share = found.levels[:, None, :, None, None]
    right = torch.where(share > 0, found.latents - share * found.wanted, asked)
    assert torch.allclose(right, asked.expand_as(right), atol=1e-2)
    speeds = found.latents[:, CHANNELS_OF.way.start].mean(dim=(1, 2, 3))
    assert speeds.max() > 2 * asked[CHANNELS_OF.way.start].mean()
    assert set(texts) == {"", sentence(ASKED)}
    assert len(found.latents) == len(texts) == len(slow)


def test_nothing_counts_without_noise_nor_places_in_almost_nothing_else(own):
    way, _ = own
    found, _, _ = way.moments(SIZE, 24, staircase(FRAMES, 10, 1, 0.4), 1, random.Random(4))
    assert found.counts[:, :, :, 0, 0].transpose(1, 2)[found.levels == 0].eq(0).all()
    blind = found.counts[:, :, :, 0, 0].transpose(1, 2)[found.levels > 0.95]
    assert blind[:, CHANNELS_OF.place].eq(0).all()
    assert blind[:, CHANNELS_OF.way].eq(1).all()
    assert len(blind) > 3


def test_a_shape_that_was_led_out_of_sight_is_wanted_inside(code):
    outside = code.of_scenes([half_way_at(ASKED, 500.0, -60.0, 6.0)], PICTURES, ROWS * 32, COLUMNS * 32)
    (scene,) = own_way.scenes_in(outside, [ASKED])
    radius, way = SIZES[ASKED.size], 6 * SPEEDS[ASKED.speed]
    assert scene.x + way == pytest.approx(COLUMNS * 32 - min(0.3 * COLUMNS * 32, radius + way), abs=1)
    assert scene.y == pytest.approx(min(0.3 * ROWS * 32, radius), abs=1)


@pytest.mark.parametrize(("block", "lag"), [(None, 0.2), (1, 0.3), (3, 0.1)])
def test_a_staircase_goes_from_noise_to_none_with_later_blocks_behind(block, lag):
    levels = torch.stack(staircase(7, 9, block, lag))
    assert levels.shape == (10, 7)
    assert levels[0].eq(1).all()
    assert levels[-1].abs().max() < 1e-6
    assert (levels.diff(dim=0) <= 0).all()
    assert (levels.diff(dim=1) >= 0).all()
    assert levels.diff(dim=1).ne(0).any() == (block is not None)
