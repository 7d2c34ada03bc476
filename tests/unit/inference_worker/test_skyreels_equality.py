"""The SkyReels engine beside diffusers' pipeline, on the same tiny weights and seeds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.skyreels.engine import SkyReelsEngine
from services.inference_worker.domain.inputs.fields import TEMPORAL_FACTOR
from tests.unit.inference_worker.skyreels_bench import (
    CPU,
    FINGERPRINT,
    LONG,
    MODES,
    a_request,
    an_engine,
    latents_in,
    made_by_pipeline,
)
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

LARGEST_DIFFERENCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pipeline():
    return tiny_skyreels()


@pytest.fixture(scope="module")
def engine():
    return an_engine()


def latents_of(engine, inputs, listener):
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(inputs, ear)
    return latents_in(ear.checkpoints[max(ear.checkpoints)], inputs)


def assert_same(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max()


def frames(latents):
    return TEMPORAL_FACTOR * (latents - 1) + 1


@st.composite
def requests(draw):
    """Short and long ones, of every mode."""
    block = draw(st.integers(1, 3))
    ar_step = draw(st.sampled_from([0, 1, 2, 5]))
    base = block * draw(st.integers(1, 3))
    request = a_request(
        prompt=draw(st.sampled_from(["", "a cat", "日本の猫 &amp; a  dog"])),
        width=draw(st.sampled_from([64, 80, 112])),
        height=draw(st.sampled_from([64, 96])),
        num_frames=frames(base),
        base_num_frames=frames(base),
        num_inference_steps=draw(st.integers(1, 6)),
        guidance_scale=draw(st.sampled_from([1.0, 1.5, 6.0])),
        ar_step=ar_step,
        causal_block_size=block if block > 1 or ar_step else draw(st.sampled_from([None, 1])),
        seed=draw(st.integers(0, 2**53 - 1)),
        fps=draw(st.sampled_from([16, 24])),
    )
    if block > 1 and ar_step and draw(st.booleans()):
        request["mode"] = "async_full"
    if base > 1 and draw(st.booleans()):
        overlap = draw(st.integers(1, base - 1))
        last = block * draw(st.integers(overlap // block + 1, base // block))
        more = draw(st.integers(1, 2))
        request |= {
            "num_frames": frames(more * (base - overlap) + last),
            "overlap_history": frames(overlap),
            "addnoise_condition": draw(st.sampled_from([0, 20, 33.7])),
        }
    return request


@settings(max_examples=40)
@given(request=requests())
def test_it_denoises_as_the_pipeline_does(pipeline, engine, listener, request):
    assert_same(latents_of(engine, request, listener), made_by_pipeline(pipeline, request))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("addnoise_condition", [0, 33.7])
def test_it_denoises_long_videos_as_the_pipeline_does(pipeline, engine, listener, mode, addnoise_condition):
    request = a_request(**LONG, **MODES[mode], addnoise_condition=addnoise_condition)
    assert_same(latents_of(engine, request, listener), made_by_pipeline(pipeline, request))


@pytest.mark.parametrize("addnoise_condition", [0, 20])
def test_an_overlap_that_ends_within_a_block_is_taken_over_as_the_pipeline_does(
    pipeline, engine, listener, addnoise_condition
):
    # Five latent frames overlap, of which two blocks of two are taken over, and five are left out of the video.
    request = a_request(
        num_frames=49,
        base_num_frames=37,
        overlap_history=17,
        causal_block_size=2,
        addnoise_condition=addnoise_condition,
    )
    assert_same(latents_of(engine, request, listener), made_by_pipeline(pipeline, request))


@pytest.mark.parametrize("mode", MODES)
def test_its_frames_are_those_of_the_pipeline_rounded(pipeline, engine, listener, mode):
    request, ear = a_request(**MODES[mode]), listener()
    engine.render(request, ear)
    expected = made_by_pipeline(pipeline, request, "np")[0] * 255
    assert np.abs(ear.frames - expected).max() <= 0.5 + 255 * LARGEST_DIFFERENCE


def test_in_half_precision_it_is_as_near_to_full_precision_as_the_pipeline_is(engine, listener, tmp_path):
    request, pipeline = a_request(), tiny_skyreels()
    pipeline.transformer.save_pretrained(tmp_path)
    pipeline.transformer = diffusers.SkyReelsV2Transformer3DModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    exact = latents_of(engine, request, listener)
    ours = latents_of(SkyReelsEngine(pipeline, CPU, FINGERPRINT), request, listener)
    theirs = made_by_pipeline(pipeline, request)
    assert ours.dtype is torch.float32
    assert 0 < (ours - exact).norm() <= 1.1 * (theirs - exact).norm()


def test_the_modes_are_different_videos(engine, listener):
    latents = [latents_of(engine, a_request(**changes), listener) for changes in MODES.values()]
    assert not any(torch.allclose(one, other) for one, other in zip(latents, latents[1:] + latents[:1], strict=True))
