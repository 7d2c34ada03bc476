"""What the Stable Video Diffusion engine can be asked for, and what becomes of it when it is interrupted."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.engines.device import to_uint8
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.stable_video import engine as engine_module
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import EngineFailed, OutOfMemory, RenderStopped, WeightsUnavailable
from tests.unit.inference_worker.stable_video_bench import (
    an_engine,
    as_the_pipeline_has_them,
    frames_of,
    heard,
    latents_of,
)
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_svd import INPUTS, tiny_svd


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pipeline():
    return tiny_svd()


@pytest.fixture(scope="module")
def engine(pipeline):
    return an_engine(pipeline)


@pytest.fixture(scope="module")
def half(pipeline):
    """The pipeline with its VAE as a GPU has it; a copy, because what is rounded once stays so."""
    other = copy.copy(pipeline)
    other.vae = copy.deepcopy(pipeline.vae).half()
    return other


HALF_INPUTS = INPUTS | {"num_frames": 2, "num_inference_steps": 1}  # the CPU is slow at half precision


@pytest.fixture(scope="module")
def half_video(half, listener):
    return frames_of(an_engine(half), HALF_INPUTS, listener)


def test_one_frame_can_be_had_which_the_pipeline_cannot_make(engine, listener):
    assert frames_of(engine, INPUTS | {"num_frames": 1}, listener).shape == (1, 64, 64, 3)


def test_a_render_neither_hears_nor_moves_the_global_generator(engine, listener):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = frames_of(engine, INPUTS, listener)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(frames_of(engine, INPUTS, listener), first)


def test_a_preview_has_about_the_colours_of_the_decoded_frame(svd, svd_inputs, listener):
    shown = []
    ear = listener(stop_at=lambda moment: bool(moment.preview and shown.append(moment.preview())))
    svd.render(svd_inputs(), ear)
    middle = ear.frames[len(ear.frames) // 2]
    assert np.abs(shown[-1].mean((0, 1)) - middle.mean((0, 1))).max() < 40


class Impatient:
    """A Listener that is told to stop at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.shown = 0
        self._looks = looks

    def report(self, moment):
        """Nothing is remembered."""

    def show(self, frames):
        self.shown += len(frames)

    def check(self):
        self._looks -= 1
        if self._looks < 0:
            raise RenderStopped


def looks_at(layer_calls, engine, listener):
    """How often a whole render looks whether to stop."""
    looks = []
    ear = listener()
    ear.check = lambda: looks.append(len(layer_calls))
    engine.render(INPUTS, ear)
    return looks


def test_it_looks_whether_to_stop_before_every_layer_and_goes_on_as_if_new(pipeline, engine, listener):
    used, calls = an_engine(pipeline), []
    layers = list(engine_module.layers(used._unet))
    for layer in layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    looks = looks_at(calls, used, listener)
    layers_in_all = INPUTS["num_inference_steps"] * len(layers)
    assert set(looks) == set(range(layers_in_all + 1))
    for look in (0, 1, 2, 3, 7, len(looks) // 2, len(looks) - 2):
        calls.clear()
        impatient = Impatient(look)
        with pytest.raises(RenderStopped):
            used.render(INPUTS, impatient)
        assert len(calls) == looks[look]  # not one more layer
        assert impatient.shown < INPUTS["num_frames"]
        assert not any(layer._forward_pre_hooks for layer in layers)
    assert np.array_equal(frames_of(used, INPUTS, listener), frames_of(engine, INPUTS, listener))


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (RenderStopped(), RenderStopped),
        (MemoryError(), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), OutOfMemory),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_an_interrupted_encoding_leaves_a_vae_of_half_precision_so(half, half_video, listener, error, fact):
    used, seen = an_engine(half), []

    def fail(encoder, *_):
        seen.append(next(encoder.parameters()).dtype)
        raise error

    hook = used._reading.encoder.register_forward_hook(fail)
    with pytest.raises(fact):
        used.render(HALF_INPUTS, listener())
    hook.remove()
    assert seen == [torch.float32]  # where half precision would overflow
    assert {weight.dtype for model in (half.vae, used._decoder) for weight in model.parameters()} == {torch.float16}
    assert np.array_equal(frames_of(used, HALF_INPUTS, listener), half_video)


def test_with_a_vae_of_half_precision_its_latents_are_still_those_of_the_pipeline(half, listener):
    expected = as_the_pipeline_has_them(half, HALF_INPUTS)
    assert torch.equal(latents_of(heard(an_engine(half), HALF_INPUTS, listener), HALF_INPUTS), expected)


def test_frames_are_decoded_in_just_the_chunks_asked_for_and_that_shows(engine, listener):
    videos = {}
    for chunk, lengths in {1: [1] * 5, 2: [2, 2, 1], 3: [3, 2], 5: [5], 8: [5]}.items():
        ear = listener()
        engine.render(INPUTS | {"decode_chunk_size": chunk}, ear)
        assert [len(frames) for frames in ear.shown] == lengths
        videos[chunk] = ear.frames
    for one, other in ((1, 2), (2, 3), (3, 5)):
        assert not np.array_equal(videos[one], videos[other])
    assert np.array_equal(videos[5], videos[8])


def test_without_a_chunk_size_all_frames_are_decoded_at_once(engine, listener):
    ear = listener()
    engine.render({name: value for name, value in INPUTS.items() if name != "decode_chunk_size"}, ear)
    assert [len(frames) for frames in ear.shown] == [5]


def test_a_prompt_has_no_effect_and_does_no_harm(engine, listener):
    with_prompts = INPUTS | {"prompt": "pan left", "negative_prompt": "blur"}
    assert np.array_equal(frames_of(engine, with_prompts, listener), frames_of(engine, INPUTS, listener))


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 9.0},
        {"min_guidance_scale": 2.5},
        {"motion_bucket_id": 20},
        {"noise_aug_strength": 0.8},
        {"fps": 24},
        {"num_inference_steps": 5},
        {"seed": 18},
    ],
)
def test_every_other_parameter_changes_the_picture(engine, listener, changes):
    first, other = (frames_of(engine, inputs, listener) for inputs in (INPUTS, INPUTS | changes))
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "I;16", "P"])
def test_pictures_that_the_pipeline_itself_cannot_take_are_converted(engine, listener, data_uri, mode):
    inputs = INPUTS | {"image": data_uri(Image.new(mode, (32, 32)))}
    assert frames_of(engine, inputs, listener).shape == (5, 64, 64, 3)


@pytest.mark.parametrize("size", [(64, 320), (192, 64), (320, 192)])
def test_every_multiple_of_64_is_a_size(engine, listener, size):
    width, height = size
    inputs = INPUTS | {"width": width, "height": height, "num_frames": 2, "num_inference_steps": 1}
    assert frames_of(engine, inputs, listener).shape == (2, height, width, 3)


def test_a_size_that_the_model_cannot_halve_often_enough_is_refused():
    coarse = an_engine(tiny_svd(vae_levels=7))
    with pytest.raises(InvalidInput) as refused:
        coarse.plan(INPUTS | {"width": 192})
    assert {violation.field for violation in refused.value.violations} == {"width", "height"}
    assert all("multiple of 128" in violation.description for violation in refused.value.violations)


def test_numbers_that_are_not_finite_fail_instead_of_showing_black(listener):
    broken = tiny_svd()
    with torch.no_grad():
        broken.unet.conv_out.bias.fill_(float("nan"))
    ear = listener()
    with pytest.raises(EngineFailed, match="finite"):
        an_engine(broken).render(INPUTS, ear)
    assert ear.shown == []


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.EulerDiscreteScheduler(prediction_type="epsilon"),
        diffusers.DDIMScheduler(prediction_type="v_prediction"),
    ],
)
def test_weights_with_a_scheduler_of_other_steps_are_refused(pipeline, scheduler):
    other = copy.copy(pipeline)
    other.scheduler = scheduler
    with pytest.raises(WeightsUnavailable, match="Euler"):
        an_engine(other)


def test_a_stretched_image_is_told_of_in_the_plan(engine, data_uri):
    square = INPUTS | {"image": data_uri(Image.new("RGB", (64, 64)))}
    assert engine.plan(square).warnings == ()
    assert "aspect ratio" in engine.plan(square | {"width": 128}).warnings[0]


def test_guidance_and_steps_are_planned_to_cost_denoising_alone(engine):
    base, unguided, twice = (
        engine.plan(INPUTS | changes).guess_seconds
        for changes in ({}, {"guidance_scale": 1.0}, {"num_inference_steps": 8})
    )
    assert base[Phase.DENOISING] == pytest.approx(2 * unguided[Phase.DENOISING])
    assert twice[Phase.DENOISING] == pytest.approx(2 * base[Phase.DENOISING])
    assert base[Phase.DECODING] == unguided[Phase.DECODING] == twice[Phase.DECODING] > 0
    assert base[Phase.ENCODING] == unguided[Phase.ENCODING] == twice[Phase.ENCODING] > 0


def test_on_the_cpu_there_is_no_room_to_make(engine):
    assert not engine.make_room()


def test_pixels_are_rounded_not_cut_off():
    values = torch.tensor([-1.0, -0.9999, 0.0, 0.9985, 1.0, 1.5, -3.0])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0]
