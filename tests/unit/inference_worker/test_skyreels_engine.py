"""What the SkyReels engine can be asked for, what it plans, and the traps of the pipeline that it stays out of."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.recipes import RANDOM
from services.inference_worker.adapters.engines.skyreels import transformer as transformer_file
from services.inference_worker.adapters.engines.skyreels.engine import SkyReelsEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import OutOfMemory
from tests.unit.inference_worker.skyreels_bench import (
    CPU,
    FINGERPRINT,
    LONG,
    MODES,
    a_request,
    an_engine,
    made_by_pipeline,
)
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

SMALL = {"num_frames": 1, "num_inference_steps": 1, "causal_block_size": None, "ar_step": 0}


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pipeline():
    return tiny_skyreels()


@pytest.fixture(scope="module")
def engine(pipeline):
    return SkyReelsEngine(pipeline, CPU, FINGERPRINT)


@pytest.fixture(scope="module")
def narrow(weights_dir):
    folder = RANDOM.folder(weights_dir, "skyreels", "SkyReelsV2DiffusionForcingPipeline", lambda: None)
    pipeline = diffusers.SkyReelsV2DiffusionForcingPipeline.from_pretrained(folder, local_files_only=True)
    return SkyReelsEngine(pipeline, CPU, FINGERPRINT)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 3.0},
        {"guidance_scale": 1.0},
        {"causal_block_size": 2},
        {"ar_step": 1},
        {"num_inference_steps": 6},
        {"fps": 16},
        {"seed": 78},
        {"mode": "async_full"},
    ],
)
def test_every_input_changes_the_picture(engine, make, changes):
    assert not np.array_equal(make(engine, a_request()).frames, make(engine, a_request(**changes)).frames)


@pytest.mark.parametrize("changes", [{"addnoise_condition": 50}, {"overlap_history": 21, "num_frames": 53}])
def test_every_input_of_long_videos_changes_the_picture(engine, make, changes):
    long = {**LONG, "causal_block_size": 1, "num_frames": 53}
    before = make(engine, a_request(**long)).frames
    assert not np.array_equal(before, make(engine, a_request(**{**long, **changes})).frames)


def test_the_model_knows_two_frame_rates_and_the_file_gets_the_requested_one(engine, make):
    slow, fast = (make(engine, a_request(fps=fps)) for fps in (8, 30))
    assert (slow.plan.fps, fast.plan.fps) == (8, 30)
    assert np.array_equal(slow.frames, fast.frames)


@pytest.mark.parametrize("size", [(80, 64), (64, 112), (208, 144)])
def test_every_multiple_of_16_is_a_size_also_of_models_that_compress_more(narrow, engine, make, size):
    width, height = size
    for each in (engine, narrow):
        assert make(each, a_request(**SMALL, width=width, height=height)).frames.shape == (1, height, width, 3)


@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_every_4k_plus_1_is_a_length(engine, make, num_frames):
    assert len(make(engine, a_request(**{**SMALL, "num_frames": num_frames})).frames) == num_frames


@pytest.mark.parametrize("prompt", ["", "日本の猫 🐈‍⬛", "e\u0301\u202e\x00\x07", "word " * 90])
def test_a_prompt_is_any_text(engine, make, prompt):
    assert make(engine, a_request(**SMALL, prompt=prompt)).plan.warnings == ()


def test_a_prompt_that_the_model_reads_only_in_part_is_told_without_repeating_it(engine):
    (warning,) = engine.plan(a_request(prompt="secret " * 100)).warnings
    assert "first 512 tokens" in warning
    assert "secret" not in warning


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_says_what_the_video_will_be(engine, make, listener, mode):
    request, ear = a_request(**MODES[mode]), listener()
    plan = engine.plan(request)
    engine.render(request, ear)
    assert (plan.mode, plan.width, plan.height, plan.num_frames, plan.fps) == (mode, 64, 80, 37, 24)
    assert ear.steps == [(done, plan.total_steps) for done in range(plan.total_steps + 1)]


def test_a_plan_knows_the_steps_of_all_windows(engine):
    assert engine.plan(a_request(**LONG)).total_steps == 6 + 4
    assert engine.plan(a_request(**LONG, **MODES["sync"])).total_steps == 4 + 4


def test_a_plan_guesses_how_long_the_phases_take_from_what_they_do(engine):
    once = engine.plan(a_request(**MODES["sync"])).guess_seconds
    unguided = engine.plan(a_request(**MODES["sync"], guidance_scale=1)).guess_seconds
    larger = engine.plan(a_request(**MODES["sync"], width=128)).guess_seconds
    assert set(once) == {Phase.ENCODING, Phase.DENOISING, Phase.DECODING}
    assert unguided[Phase.ENCODING] == once[Phase.ENCODING] / 2
    assert unguided[Phase.DENOISING] < 0.7 * once[Phase.DENOISING]
    assert unguided[Phase.DECODING] == once[Phase.DECODING]
    assert larger[Phase.DENOISING] > 2 * once[Phase.DENOISING]
    assert larger[Phase.DECODING] == 2 * once[Phase.DECODING]


def test_memory_is_measured_in_each_phase(engine, make):
    peaks = make(engine, a_request()).rendered.peak_memory
    assert set(peaks) == {Phase.ENCODING, Phase.DENOISING, Phase.DECODING}
    assert all(peak.allocated_bytes > 0 for peak in peaks.values())


def test_memory_that_does_not_suffice_is_called_so_and_the_next_video_is_as_ever(engine, make, listener):
    whole, attention = make(engine, a_request()).frames, transformer_file.scaled_dot_product_attention
    calls = []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 20:
            raise torch.OutOfMemoryError
        return attention(*arguments)

    with patch.object(transformer_file, "scaled_dot_product_attention", failing), pytest.raises(OutOfMemory):
        engine.render(a_request(), listener())
    assert np.array_equal(make(engine, a_request()).frames, whole)


def test_a_known_prompt_is_not_encoded_again(listener):
    engine, texts = an_engine(), []
    text_encoder = engine._pipeline.text_encoder
    text_encoder.register_forward_hook(lambda *_: texts.append(1))
    for changes in ({}, {"seed": 1}, {"prompt": "a dog"}, {"guidance_scale": 1.0}):
        engine.render(a_request(**SMALL, **changes), listener())
    assert len(texts) == 3  # two prompts and a negative one


def test_compiled_parts_are_used_in_every_layer(listener):
    engine, used = an_engine(), []

    def compiled(region):
        def part(*arguments):
            used.append(region.__name__)
            return region(*arguments)

        return part

    engine.compile_regions(compiled)
    engine.render(a_request(**SMALL), listener())
    assert used == ["before_attention", "between_attentions", "after_attention"] * 3


def test_nothing_is_masked_and_both_branches_of_guidance_are_computed_together(engine, listener):
    calls, attention = [], transformer_file.scaled_dot_product_attention

    def seen(queries, keys, values):
        calls.append((queries.shape[0], queries.shape[2], keys.shape[2]))
        return attention(queries, keys, values)

    with patch.object(transformer_file, "scaled_dot_product_attention", seen):
        engine.render(a_request(num_inference_steps=1, ar_step=1), listener())
    block = 5 * 4 * 5  # tokens
    text = (2, block, 512)
    first, second = (1, block, block), (1, block, 2 * block)
    assert calls == [
        # The first block alone; until they first look at their prompts, the branches are the same.
        *(first, text, (2, *first[1:]), text, (2, *first[1:]), text),
        # What the second needs to know of the first when that is finished, then the second.
        *(first, text, (2, *first[1:]), text),
        *(second, text, (2, *second[1:]), text, (2, *second[1:]), text),
    ]


# Traps of diffusers 0.42.1.


def test_a_block_size_does_not_leak_into_later_videos(pipeline, engine, make):
    request = a_request(**MODES["sync"])
    before = make(engine, request).frames
    make(engine, a_request(causal_block_size=2))
    assert pipeline.transformer.config.num_frame_per_block == 1
    assert np.array_equal(before, make(engine, request).frames)


def test_a_block_size_left_in_the_model_by_others_has_no_effect(pipeline, engine, make):
    request = a_request(**MODES["sync"])
    before = make(engine, request).frames
    made_by_pipeline(pipeline, a_request())
    assert pipeline.transformer.config.num_frame_per_block == 5
    assert np.array_equal(before, make(engine, request).frames)


def test_latent_frames_that_do_not_fill_a_block_are_refused(engine, listener):
    for asked in (engine.plan, lambda inputs: engine.render(inputs, listener())):
        with pytest.raises(InvalidInput, match="causal_block_size"):
            asked(a_request(num_frames=13, causal_block_size=3))


def test_more_steps_than_the_model_tells_apart_are_refused(engine):
    with pytest.raises(InvalidInput, match="num_inference_steps"):
        engine.plan(a_request(num_inference_steps=400))


def test_long_videos_come_out_the_same_for_the_same_seed_whatever_else_draws_noise(engine, make):
    request = a_request(**LONG, addnoise_condition=20)
    first = make(engine, request).frames
    torch.manual_seed(123)
    torch.randn(7)
    state = torch.random.get_rng_state()
    second = make(engine, request).frames
    assert first.shape == (57, 80, 64, 3)
    assert np.array_equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_pipelines_parts_stay_as_they_are(pipeline, engine, make):
    weights = [parameter.clone() for parameter in pipeline.vae.parameters()]
    make(engine, a_request(**LONG))
    assert pipeline.scheduler.step_index is None
    assert pipeline.scheduler.model_outputs == [None, None]
    assert all(torch.equal(one, other) for one, other in zip(weights, pipeline.vae.parameters(), strict=True))
