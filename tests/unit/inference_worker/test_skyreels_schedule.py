"""When which latent frames are denoised, and what that costs."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from services.inference_worker.adapters.engines.skyreels.course import course_of
from services.inference_worker.adapters.engines.skyreels.denoising import Denoising
from services.inference_worker.adapters.engines.skyreels.schedule import NO_FRAMES, schedule
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs.skyreels import SkyReelsInputs
from tests.unit.inference_worker.skyreels_bench import LONG, MODES, a_request, an_engine
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pipeline():
    return tiny_skyreels()


@pytest.fixture(scope="module")
def config(pipeline):
    return pipeline.transformer.config


@st.composite
def windows(draw):
    block = draw(st.integers(1, 4))
    blocks = draw(st.integers(1, 5))
    return {
        "latent_frames": block * blocks,
        "taken_over": block * draw(st.integers(0, blocks - 1)),
        "steps": draw(st.integers(1, 12)),
        "ar_step": draw(st.integers(0, 14)),
        "block": block,
        "causal": draw(st.booleans()),
        "steady": draw(st.booleans()),
    }


def by_frame(parts, values):
    return [value for part, value in zip(parts, values, strict=True) for _ in part]


@settings(max_examples=200)
@given(window=windows())
def test_each_frame_takes_the_steps_that_the_pipeline_gives_it(pipeline, window):
    steps, frames = window["steps"], window["latent_frames"]
    _, positions, moved, _ = pipeline.generate_timestep_matrix(
        frames, torch.arange(steps), frames, window["ar_step"], window["taken_over"], window["block"]
    )
    found = schedule(**window)
    assert [by_frame(found.parts, each.positions) for each in found.iterations] == positions.tolist()
    assert [[frame in each.moved for frame in range(frames)] for each in found.iterations] == moved.tolist()


@settings(max_examples=200)
@given(window=windows())
def test_what_a_frame_sees_is_computed_or_kept_and_nothing_else_is_computed(window):
    found = schedule(**window)
    finished, kept = window["steps"] + 1, 0
    for iteration in found.iterations:
        positions = by_frame(found.parts, iteration.positions)
        assert iteration.remembered == NO_FRAMES or iteration.remembered.start == kept
        assert all(positions[frame] == finished for frame in iteration.remembered)
        kept += len(iteration.remembered)
        visible = iteration.moved.stop if window["causal"] else window["latent_frames"]
        assert iteration.seen == range(kept, visible)
        if window["causal"] and window["steady"]:
            assert iteration.seen == iteration.moved
        else:
            assert kept == 0


@settings(max_examples=100)
@given(window=windows())
def test_frames_are_final_once_they_took_their_last_step(window):
    found = schedule(**window)
    moves = [[frame in each.moved for frame in range(window["latent_frames"])] for each in found.iterations]
    for number, iteration in enumerate(found.iterations):
        later = [any(row[frame] for row in moves[number + 1 :]) for frame in range(window["latent_frames"])]
        assert iteration.final == (later.index(True) if True in later else window["latent_frames"])


def test_blocks_that_lag_take_more_iterations_than_steps():
    # As in the page's example: 25 latent frames in blocks of 5, 20 steps.
    found = schedule(25, 0, steps=20, ar_step=5, block=5, causal=True, steady=True)
    assert len(found.iterations) == 20 + 5 * 4
    assert [len(iteration.seen) for iteration in found.iterations[::5]] == [5, 10, 15, 20, 20, 15, 10, 5]
    assert [number for number, iteration in enumerate(found.iterations) if iteration.remembered] == [20, 25, 30, 35]


def test_frames_without_a_lag_share_one_solver():
    assert schedule(10, 0, steps=3, ar_step=0, block=5, causal=True, steady=True).parts == (range(10),)
    assert schedule(10, 5, steps=3, ar_step=0, block=1, causal=False, steady=True).parts == (range(5), range(5, 10))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0}, LONG, {**LONG, "addnoise_condition": 20}])
def test_the_arithmetic_of_each_step_is_known_beforehand(config, listener, mode, changes):
    inputs = a_request(**MODES[mode], **changes)
    course = course_of(SkyReelsInputs.read(inputs), config, height=10, width=8)
    counted, step = [], Denoising.step

    def counting(denoising, check):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            step(denoising, check)
        counted.append(counter.get_total_flops())

    with patch.object(Denoising, "step", counting):
        an_engine().render(inputs, listener())
    # What does not grow with the layers, above all the ways into and out of the model, is left out.
    assert [found / expected for found, expected in zip(course.step_flops, counted, strict=True)] == pytest.approx(
        [0.95] * len(counted), abs=0.05
    )


def test_steps_that_do_more_are_a_larger_share(listener):
    ear = listener()
    an_engine().render(a_request(), ear)
    shares = [moment.share for moment in ear.moments if moment.phase is Phase.DENOISING]
    work = np.diff([*dict.fromkeys(shares)])
    assert max(work) > 1.9 * min(work)
