"""Moments on the way that guidance takes: what is wanted there is what was asked for."""

import random

import pytest
import torch

from models_demo.architectures import VIDEO_CHANNELS, flow_scheduler
from models_demo.training import own_way
from models_demo.training.forward import Texts
from models_demo.training.own_way import Journey, OwnWay
from models_demo.training.sketches import CHANNELS_OF, Window, places, sketches
from models_demo.world import MOTIONS, SIZES, SPEEDS, Combination, half_way_at, placed, random_combination
from services.inference_worker.adapters.engines.skyreels.schedule import schedule

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


def at(code, what, x=100.0, y=80.0):
    return code.of_scenes([half_way_at(what, x, y, (PICTURES - 1) / 2)], PICTURES, ROWS * 32, COLUMNS * 32)[0]


@pytest.fixture
def own(code, monkeypatch):
    """The way of a model that foretells one scene if it is told of it, and another if not, to be given by the test."""
    foretells = {}

    def predicted(_model, latents, moments, texts, *, slow, block):
        foreseen = torch.stack([foretells[bool(is_told)] for is_told in texts.weight.tolist()])
        return (latents - foreseen) / (moments[:, None, :, None, None] / 1000).clamp(min=1e-3)

    monkeypatch.setattr(own_way, "predicted", predicted)
    monkeypatch.setattr(own_way, "any_scene", lambda _dice: ASKED)
    torch.manual_seed(4)
    return OwnWay(None, code, told_or_not), foretells


def journey(*, known=0, right=None, length=FRAMES, lag=0, steps=12, guidance=6.0):
    latents = torch.randn(2, VIDEO_CHANNELS, *SIZE)
    if right is not None:
        latents[:, :, :known] = right[:, :, :known]
    return Journey(
        [ASKED, ASKED],
        latents,
        right,
        known=known,
        known_level=0.02,
        parts=[range(start, min(start + length, FRAMES)) for start in range(known, FRAMES, length)],
        lag=lag,
        steps=steps,
        block=None,
        slow=torch.tensor([False, True]),
        guidance=torch.full((2, 1, 1, 1, 1), guidance),
    )


def losses(way, trip):
    found = []
    while not trip.is_over:
        level = trip.levels().max().item()
        found.append((level, way.loss(trip, torch.ones(VIDEO_CHANNELS, 1, 1, 1)).item()))
    return found


@pytest.mark.parametrize(("length", "lag"), [(FRAMES, 0), (2, 3)])
def test_who_foretells_what_was_asked_for_has_nothing_to_learn_and_gets_there(own, code, length, lag):
    way, foretells = own
    foretells |= {True: at(code, ASKED), False: at(code, ASKED)}
    trip = journey(length=length, lag=lag)
    assert max(loss for _, loss in losses(way, trip)) < 1e-3
    assert torch.allclose(trip.latents, at(code, ASKED).expand_as(trip.latents), atol=0.05)


@pytest.mark.parametrize("told", [True, False])
def test_who_foretells_another_scene_told_or_untold_is_to_learn_it_wherever_guidance_led(own, code, told):
    way, foretells = own
    foretells |= {told: at(code, OTHER), not told: at(code, ASKED)}
    trip = journey()
    assert min(loss for level, loss in losses(way, trip) if level > 0.3) > 0.05
    # Guidance goes from what is foretold untold, six times as far as to what is foretold told.
    behind = CHANNELS_OF.behind.start
    untold, with_prompt = (foretells[is_told][behind].mean() for is_told in (False, True))
    reached = untold + 6 * (with_prompt - untold)
    assert trip.latents[:, behind].mean().item() == pytest.approx(reached.item(), rel=0.1)


def test_where_the_shape_is_may_be_said_otherwise_untold_while_nobody_can_see_it(own, code):
    way, foretells = own
    foretells |= {True: at(code, ASKED), False: at(code, ASKED, y=130.0)}
    found = losses(way, journey(guidance=1.0))
    assert max(loss for level, loss in found if level > 0.93) < 1e-3
    assert min(loss for level, loss in found if 0.3 < level < 0.93) > 1e-2


def test_what_grows_too_fast_everywhere_counts_more_than_what_is_as_wrong_here_and_there(own, code):
    way, foretells = own
    time = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    cells = torch.tensor([1.0, -1.0]).repeat(ROWS * COLUMNS // 2).view(ROWS, COLUMNS)
    evenly, shaken, mixed = time[:, None, None], time[[1, 3, 0, 2], None, None], time[:, None, None] * cells

    def counted(wrong):
        foretold = at(code, ASKED)
        foretold[CHANNELS_OF.radius] += 0.2 * wrong
        foretells.update({True: foretold, False: foretold})
        return [loss for level, loss in losses(way, journey()) if level > 0.3]

    for other in (shaken, mixed):
        assert all(fast > 5 * wrong > 0 for fast, wrong in zip(counted(evenly), counted(other), strict=True))


def test_what_goes_on_from_known_frames_is_to_come_where_they_lead(own, code):
    way, foretells = own
    elsewhere = at(code, ASKED, x=150.0)[None]
    foretells |= {True: at(code, ASKED), False: at(code, ASKED)}
    trip = journey(known=2, right=elsewhere)
    assert min(loss for level, loss in losses(way, trip) if level > 0.3) > 1e-2
    assert torch.equal(trip.latents[:, :, :2], elsewhere[:, :, :2].expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize(("known", "length", "lag"), [(0, FRAMES, 0), (0, 2, 3), (1, 1, 2), (2, FRAMES, 0)])
def test_a_journey_has_the_levels_of_a_render(known, length, lag):
    trip = journey(known=known, length=length, lag=lag)
    iterations = schedule(FRAMES, known, steps=12, ar_step=lag, block=length, causal=False, steady=True).iterations
    sigmas = flow_scheduler(3.0)
    sigmas.set_timesteps(12)
    sigmas = [sigmas.sigmas[0], *sigmas.sigmas]
    still = torch.zeros(1, VIDEO_CHANNELS, *SIZE)
    for iteration in iterations:
        assert not trip.is_over
        levels = trip.levels()
        assert levels[:known].eq(0.02).all()
        for part, position in zip(trip.parts, iteration.positions[bool(known) :], strict=True):
            assert levels[part.start : part.stop].eq(sigmas[position]).all()
        trip.go_on(still, still)
    assert trip.is_over


def test_a_journey_that_was_kept_goes_on_as_if_it_had_not_been(tmp_path):
    trip, there = journey(length=2, lag=3), torch.randn(2, VIDEO_CHANNELS, *SIZE)
    for _ in range(6):
        trip.go_on(there, there * 0.5)
    torch.save({"journeys": [trip]}, tmp_path / "kept.pt")
    (kept,) = torch.load(tmp_path / "kept.pt", weights_only=False)["journeys"]
    for each in (trip, kept):
        while not each.is_over:
            each.go_on(there, there * 0.5)
    assert torch.equal(trip.latents, kept.latents)


def test_journeys_begin_in_noise_or_at_the_end_of_an_earlier_window(own):
    way, _ = own
    dice = random.Random(6)
    begun = [way.begun(SIZE, 2, dice) for _ in range(60)]
    known = [trip for trip in begun if trip.known]
    assert 3 < len(known) < 30
    assert all(torch.equal(trip.latents[:, :, : trip.known], trip.right[:, :, : trip.known]) for trip in known)
    assert all(trip.right is None for trip in begun if not trip.known)
    assert all(range(trip.known, FRAMES) == range(trip.parts[0].start, trip.parts[-1].stop) for trip in begun)
    assert all(trip.known % trip.block == 0 for trip in begun if trip.block)
    assert {len(trip.parts) > 1 for trip in begun} == {True, False}


def test_a_window_that_goes_on_begins_as_the_one_before_ended(code):
    dice = random.Random(3)
    first = Window((5, ROWS, COLUMNS), skipped=0, first=5)
    scenes = [first.scene(random_combination(dice), dice) for _ in range(3)]
    earlier = first.latents(code, scenes)
    later = Window((5, ROWS, COLUMNS), skipped=3, first=5).latents(code, scenes)
    assert torch.equal(later[:, :, :2], earlier[:, :, 3:])
    time = later[:, CHANNELS_OF.time].mean(dim=(0, 1, 3, 4))
    assert torch.allclose(time.diff(), torch.tensor(0.4))
    again = Window.of((5, ROWS, COLUMNS), 2, dice)
    assert again.first == again.skipped + 2
    assert again.skipped > 0
    assert Window.of((5, ROWS, COLUMNS), 0, dice) == first


def test_a_shape_that_was_led_out_of_sight_is_wanted_inside(code):
    outside = code.of_scenes([half_way_at(ASKED, 500.0, -60.0, 6.0)], PICTURES, ROWS * 32, COLUMNS * 32)
    (scene,) = own_way.scenes_in(outside, [ASKED])
    radius, way = SIZES[ASKED.size], 6 * SPEEDS[ASKED.speed]
    assert scene.x + way == pytest.approx(COLUMNS * 32 - min(0.3 * COLUMNS * 32, radius + way), abs=1)
    assert scene.y == pytest.approx(min(0.3 * ROWS * 32, radius), abs=1)
