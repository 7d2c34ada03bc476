"""The Wan engine: beside the pipeline of diffusers on tiny weights, and what narrow weights of it can be asked for."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as tensors_in

from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.recipes import RANDOM
from services.inference_worker.adapters.engines.wan import WanEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import EngineFailed, RenderStopped, WeightsUnavailable
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_wan import FINGERPRINT, INPUTS, tiny_wan

CPU = torch.device("cpu")
LARGEST_DIFFERENCE = 1e-5
IN_ANOTHER_PROCESS = """
import sys, json, numpy, torch
from tests.unit.inference_worker.tiny_wan import FINGERPRINT, tiny_wan
from services.inference_worker.adapters.engines.wan import WanEngine

class Recorder:
    shown = []
    def report(self, moment): ...
    def check(self): ...
    def show(self, frames): self.shown.append(frames)

checkpoint, inputs, video = sys.argv[1:]
torch.set_num_threads(1)
engine = WanEngine(tiny_wan(), torch.device("cpu"), FINGERPRINT)
engine.render(json.loads(inputs), Recorder(), open(checkpoint, "rb").read())
numpy.save(video, numpy.concatenate(Recorder.shown))
"""


@pytest.fixture(scope="module", autouse=True)
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pipeline():
    return tiny_wan()


@pytest.fixture(scope="module")
def engine(pipeline):
    return WanEngine(pipeline, CPU, FINGERPRINT)


@pytest.fixture(scope="module")
def fresh():
    """Engines on the same weights that have never made a video."""
    return lambda: WanEngine(tiny_wan(), CPU, FINGERPRINT)


@pytest.fixture(scope="module")
def narrow(weights_dir):
    folder = RANDOM.folder(weights_dir, "wan", "WanPipeline", lambda: None)
    return WanEngine(diffusers.WanPipeline.from_pretrained(folder, local_files_only=True), CPU, FINGERPRINT)


def frames_of(engine, inputs, listener, resume_from=None):
    ear = listener()
    engine.render(inputs, ear, resume_from)
    return ear.frames


def latents_of(engine, inputs, listener):
    """The latents after the last step, of shape (1, channels, latent frames, h, w)."""
    total = inputs["num_inference_steps"]
    ear = listener(stop_at=lambda moment: moment.done_steps == total)
    ear.takes_checkpoints = True
    with pytest.raises(RenderStopped):
        engine.render(inputs, ear)
    return tensors_in(ear.checkpoints[total])["latents"]


def as_the_pipeline_has_them(pipeline, inputs, output_type):
    arguments = {name: value for name, value in inputs.items() if name not in ("seed", "fps")}
    generator = torch.Generator().manual_seed(inputs["seed"])
    return pipeline(**arguments, generator=generator, output_type=output_type).frames


@settings(max_examples=12)
@given(
    width=st.sampled_from([64, 80, 112]),
    height=st.sampled_from([64, 96]),
    num_frames=st.sampled_from([1, 5, 13]),
    num_inference_steps=st.integers(1, 16),
    guidance_scale=st.sampled_from([1.0, 1.5, 6.0]),
    seed=st.integers(0, 2**32 - 1),
    prompt=st.text(max_size=20),
)
def test_it_denoises_as_the_pipeline_does(pipeline, engine, listener, **changes):
    inputs = INPUTS | changes
    found, expected = latents_of(engine, inputs, listener), as_the_pipeline_has_them(pipeline, inputs, "latent")
    assert (found - expected).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max()


def test_its_frames_are_those_of_the_pipeline_rounded(pipeline, engine, listener):
    expected = as_the_pipeline_has_them(pipeline, INPUTS, "np")[0] * 255
    assert np.abs(frames_of(engine, INPUTS, listener) - expected).max() <= 0.5 + 255 * LARGEST_DIFFERENCE


@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0, "num_inference_steps": 2}])
def test_a_render_resumed_from_a_file_after_any_step_is_the_uninterrupted_one(
    engine, fresh, listener, tmp_path, changes
):
    inputs, file = INPUTS | changes, tmp_path / "checkpoint"
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(inputs, ear)
    assert list(ear.checkpoints) == list(range(1, inputs["num_inference_steps"] + 1))
    other = fresh()
    for checkpoint in ear.checkpoints.values():
        file.write_bytes(checkpoint)
        assert np.array_equal(frames_of(other, inputs, listener, file.read_bytes()), ear.frames)


def test_another_process_finishes_a_render_bit_for_bit(engine, listener, tmp_path):
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(INPUTS, ear)
    (tmp_path / "checkpoint").write_bytes(ear.checkpoints[3])
    video = tmp_path / "video.npy"
    arguments = [str(tmp_path / "checkpoint"), json.dumps(INPUTS), str(video)]
    subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS, *arguments], check=True, cwd=REPOSITORY, timeout=120)
    assert np.array_equal(np.load(video), ear.frames)


def test_a_render_is_left_between_two_blocks_of_a_step_and_the_next_one_is_that_of_a_fresh_engine(
    engine, fresh, listener, monkeypatch
):
    ear, computed = listener(), []

    def check():
        if computed:
            raise RenderStopped

    monkeypatch.setattr(ear, "check", check)
    blocks = list(engine._transformer.blocks)
    watches = [block.register_forward_hook(lambda block, *_: computed.append(block)) for block in blocks]
    with pytest.raises(RenderStopped):
        engine.render(INPUTS, ear)
    for watch in watches:
        watch.remove()
    assert computed == blocks[:1]
    assert ear.steps == [(0, INPUTS["num_inference_steps"])]
    assert np.array_equal(frames_of(engine, INPUTS, listener), frames_of(fresh(), INPUTS, listener))


def test_the_preview_is_of_what_the_frame_in_the_middle_is_expected_to_become(narrow, listener, monkeypatch):
    pictures, expected = [], []
    picture = narrow._preview.picture
    monkeypatch.setattr(narrow._preview, "picture", lambda latent: (expected.append(latent), picture(latent))[1])
    ear = listener(stop_at=lambda moment: bool(moment.preview and pictures.append(moment.preview())))
    ear.takes_checkpoints = True
    narrow.render(INPUTS | {"width": 192, "height": 128}, ear)
    assert [picture.shape for picture in pictures] == [(171, 256, 3)] * INPUTS["num_inference_steps"]
    final = tensors_in(ear.checkpoints[INPUTS["num_inference_steps"]])["latents"][0, :, 1]
    distances = [float((latent - final).norm()) for latent in expected]
    assert distances[-1] < 1e-3 * float(final.norm())
    assert distances[0] > distances[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 3.0},
        {"num_inference_steps": 6},
        {"seed": 22},
    ],
)
def test_every_parameter_changes_the_picture(engine, listener, changes):
    assert not torch.equal(latents_of(engine, INPUTS, listener), latents_of(engine, INPUTS | changes, listener))


def test_without_guidance_the_negative_prompt_has_no_effect(engine, listener):
    plain, other = (
        latents_of(engine, INPUTS | {"guidance_scale": 1.0, "negative_prompt": text}, listener) for text in ("", "x")
    )
    assert torch.equal(plain, other)


def test_both_branches_of_guidance_go_through_the_model_at_once_and_without_guidance_there_is_one(engine, listener):
    for guidance_scale, branches in ((5.0, 2), (1.0, 1)):
        batches = []
        watch = engine._transformer.register_forward_pre_hook(
            lambda _model, given, batches=batches: batches.append(len(given[0]))
        )
        latents_of(engine, INPUTS | {"guidance_scale": guidance_scale}, listener)
        watch.remove()
        assert batches == [branches] * INPUTS["num_inference_steps"]


@pytest.mark.parametrize("size", [(80, 64), (64, 112), (208, 144)])
def test_every_multiple_of_16_is_a_size_of_the_demo_too(narrow, listener, size):
    width, height = size
    inputs = INPUTS | {"width": width, "height": height, "num_frames": 5, "num_inference_steps": 1}
    assert frames_of(narrow, inputs, listener).shape == (5, height, width, 3)


@pytest.mark.parametrize("num_frames", [1, 5, 13])
def test_every_4k_plus_1_is_a_length(narrow, listener, num_frames):
    inputs = INPUTS | {"num_frames": num_frames, "num_inference_steps": 1}
    ear = listener()
    narrow.render(inputs, ear)
    assert [len(frames) for frames in ear.shown] == [1] + [4] * (num_frames // 4)


@pytest.mark.parametrize("prompt", ["", "日本の猫 🐈‍⬛", "e\u0301\u202e\x00\x07", "word " * 90])
def test_a_prompt_is_any_text(engine, prompt):
    assert engine.plan(INPUTS | {"prompt": prompt}).warnings == ()


def test_a_prompt_that_the_model_reads_only_in_part_is_told_without_repeating_it(engine):
    (warning,) = engine.plan(INPUTS | {"prompt": "secret " * 100}).warnings
    assert "first 512 tokens" in warning
    assert "secret" not in warning


def test_work_grows_with_everything_that_makes_it_grow(engine):
    plain = engine.plan(INPUTS).guess_seconds
    for changes, phases in (
        ({"num_frames": 13}, {Phase.DENOISING, Phase.DECODING}),
        ({"width": 128}, {Phase.DENOISING, Phase.DECODING}),
        ({"num_inference_steps": 6}, {Phase.DENOISING}),
    ):
        guess = engine.plan(INPUTS | changes).guess_seconds
        assert {phase for phase in guess if guess[phase] > plain[phase]} == phases
    unguided = engine.plan(INPUTS | {"guidance_scale": 1.0}).guess_seconds
    assert unguided[Phase.DENOISING] == plain[Phase.DENOISING] / 2


def test_a_model_that_makes_numbers_that_are_not_finite_fails_instead_of_showing_black(fresh, listener):
    engine, ear = fresh(), listener()
    engine._transformer.proj_out.bias.data.fill_(float("nan"))
    with pytest.raises(EngineFailed, match="finite"):
        engine.render(INPUTS, ear)
    assert ear.shown == []


def test_what_is_compiled_is_the_blocks_and_they_compute_the_same(fresh, listener):
    engine, calls = fresh(), []
    before = frames_of(engine, INPUTS, listener)
    engine.compile_regions(lambda region: lambda *args: (calls.append(region), region(*args))[1])
    assert np.array_equal(frames_of(engine, INPUTS, listener), before)
    assert len(calls) == INPUTS["num_inference_steps"] * len(engine._transformer.blocks)


@pytest.mark.parametrize("difference", ["transformer_2", "vae"])
def test_weights_of_wan_2_2_which_come_under_the_same_pipeline_are_refused(difference):
    pipeline = tiny_wan()
    if difference == "vae":
        pipeline.vae.register_to_config(is_residual=True)
    else:
        pipeline.transformer_2 = pipeline.transformer
    with pytest.raises(WeightsUnavailable, match=r"Wan 2\.1"):
        WanEngine(pipeline, CPU, FINGERPRINT)


def test_on_the_cpu_there_is_no_room_to_make(engine):
    assert not engine.make_room()


def test_once_room_was_made_each_phase_has_its_parts_and_the_video_is_the_same(fresh, listener, monkeypatch):
    engine, moved = fresh(), []
    before = frames_of(engine, INPUTS | {"prompt": "another"}, listener)
    parts = engine._parts
    monkeypatch.setattr(parts, "_frugal", True)  # on the CPU parts are moved to where they are
    at_work = parts.at_work
    monkeypatch.setattr(parts, "at_work", lambda *names: (moved.append(names), at_work(*names))[1])
    assert np.array_equal(frames_of(engine, INPUTS | {"prompt": "another"}, listener), before)
    assert moved == [("transformer",), ("decoder",)]
    frames_of(engine, INPUTS, listener)
    assert moved[2:] == [("text encoder",), ("transformer",), ("decoder",)]
