"""What every engine promises, checked on each of them; the scripted one must keep it too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.scripted_engine import ScriptedEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import RenderStopped

REAL = ("svd", "skyreels")


@pytest.fixture(params=["scripted", *REAL])
def engine_and_inputs(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    if request.param == "scripted":
        return ScriptedEngine(), {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 4, "fps": 7}
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_inputs")()


@pytest.fixture(params=REAL)
def real_engine(request: pytest.FixtureRequest) -> tuple[Any, Callable[..., dict[str, Any]], str]:
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_inputs"), request.param


def test_a_clip_has_the_requested_frames_as_rgb(engine_and_inputs, make):
    engine, inputs = engine_and_inputs
    clip = make(engine, inputs)
    assert clip.frames.shape == (inputs["num_frames"], inputs["height"], inputs["width"], 3)
    assert clip.frames.dtype == np.uint8
    assert clip.fps == inputs["fps"]


def test_phases_come_in_order_and_every_step_is_reported_when_it_is_finished(engine_and_inputs, listener):
    engine, inputs = engine_and_inputs
    ear, total = listener(), inputs["num_inference_steps"]
    engine.render(inputs, ear.report, ear)
    assert ear.phases == [Phase.ENCODING, Phase.DENOISING, Phase.DECODING]
    assert ear.steps == [(done, total) for done in range(total + 1)]
    for phase in (Phase.DENOISING, Phase.DECODING):
        shares = [moment.share for moment in ear.moments if moment.phase is phase]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_stopping_takes_effect_before_another_step_and_nothing_is_decoded(engine_and_inputs, listener, step):
    engine, inputs = engine_and_inputs
    ear = listener(stop_at=lambda moment: moment.phase is Phase.DENOISING and moment.done_steps == step)
    with pytest.raises(RenderStopped):
        engine.render(inputs, ear.report, ear)
    assert ear.steps[-1][0] <= step + (step == 0)
    assert Phase.DECODING not in ear.phases


def test_decoding_can_be_stopped_too(engine_and_inputs, listener):
    engine, inputs = engine_and_inputs
    ear = listener(stop_at=lambda moment: moment.phase is Phase.DECODING and moment.share > 0)
    with pytest.raises(RenderStopped):
        engine.render(inputs, ear.report, ear)


def test_the_same_seed_makes_the_same_clip_and_another_seed_another(real_engine, make):
    engine, inputs, _ = real_engine
    first, second, other = (make(engine, inputs(seed=seed)).frames for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_after_a_stop_the_next_clip_is_that_of_a_fresh_engine(real_engine, listener, make, load):
    engine, inputs, slug = real_engine
    for at in (Phase.DENOISING, Phase.DECODING):
        ear = listener(stop_at=lambda moment, at=at: moment.phase is at and moment.share > 0)
        with pytest.raises(RenderStopped):
            engine.render(inputs(seed=5, num_inference_steps=6), ear.report, ear)
    assert np.array_equal(make(engine, inputs(seed=9)).frames, make(load(slug), inputs(seed=9)).frames)


def test_clips_move_and_have_contrast(real_engine, make):
    engine, inputs, _ = real_engine
    frames = make(engine, inputs(width=192, height=128)).frames.astype(float)
    assert frames.std() > 10
    assert np.abs(frames[-1] - frames[0]).mean() > 1


@pytest.mark.parametrize("changes", [{"width": 100}, {"num_frames": 0}, {"fps": None, "speed": 1}, {"seed": "x"}])
def test_inputs_are_checked_before_any_work(real_engine, listener, changes):
    engine, inputs, _ = real_engine
    ear = listener()
    with pytest.raises(InvalidInput):
        engine.render(inputs(**changes), ear.report, ear)
    assert ear.moments == []
