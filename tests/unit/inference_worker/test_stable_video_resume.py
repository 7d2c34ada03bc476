"""Renders of Stable Video Diffusion that go on from a checkpoint."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.engines.stable_video.start import Shapes
from services.inference_worker.adapters.engines.state import RenderState, pack
from services.inference_worker.domain.errors import CheckpointRefused
from tests.unit.inference_worker.stable_video_bench import an_engine, frames_of, heard, state_after
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_svd import FINGERPRINT, INPUTS, tiny_svd

IN_ANOTHER_PROCESS = """
import sys, json, pathlib, numpy, torch
from tests.unit.inference_worker.tiny_svd import FINGERPRINT, tiny_svd
from services.inference_worker.adapters.engines.stable_video.engine import StableVideoDiffusionEngine

class Recorder:
    def __init__(self): self.shown = []
    def report(self, moment): ...
    def check(self): ...
    def show(self, frames): self.shown.append(frames)

folder, inputs = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(1)
engine = StableVideoDiffusionEngine(tiny_svd(), torch.device("cpu"), FINGERPRINT)
for checkpoint in folder.glob("*.safetensors"):
    recorder = Recorder()
    engine.render(inputs, recorder, checkpoint.read_bytes())
    numpy.save(checkpoint.with_suffix(".npy"), numpy.concatenate(recorder.shown))
"""


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


def test_a_render_goes_on_in_another_process_after_any_step_bit_for_bit(engine, listener, tmp_path):
    whole = heard(engine, INPUTS, listener)
    for step, checkpoint in whole.checkpoints.items():
        (tmp_path / f"{step}.safetensors").write_bytes(checkpoint)
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, str(tmp_path), json.dumps(INPUTS)]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    assert list(whole.checkpoints) == [1, 2, 3, 4]
    for step in whole.checkpoints:
        assert np.array_equal(np.load(tmp_path / f"{step}.npy"), whole.frames)


@pytest.mark.parametrize("changes", [{"guidance_scale": 1.0}, {"num_inference_steps": 1}, {"decode_chunk_size": 5}])
def test_it_goes_on_whatever_it_was_asked_for(engine, pipeline, listener, changes):
    inputs = INPUTS | changes
    whole, fresh = heard(engine, inputs, listener), an_engine(pipeline)
    for step, checkpoint in whole.checkpoints.items():
        resumed = heard(fresh, inputs, listener, checkpoint)
        assert np.array_equal(resumed.frames, whole.frames)
        left = {later: blob for later, blob in whole.checkpoints.items() if later > step}
        assert resumed.checkpoints == left


def test_a_checkpoint_holds_the_image_once_and_not_for_each_frame(engine, listener):
    state = state_after(2, heard(engine, INPUTS, listener), INPUTS)
    assert {name: tuple(tensor.shape) for name, tensor in state.tensors.items()} == {
        "latents": (1, 5, 4, 8, 8),
        "image_latents": (1, 4, 8, 8),
        "embedding": (1, 1, 16),
    }


def test_a_checkpoint_of_the_largest_catalogued_video_stays_small():
    shapes = Shapes(frames=25, latent_channels=4, height=72, width=128, embedding_channels=1024, dtype=torch.float32)
    assert 4 * sum(torch.Size(shape).numel() for shape in shapes.by_name().values()) < 5_600_000


def test_a_render_that_goes_on_does_not_encode_its_image_again(pipeline, listener, monkeypatch):
    engine = an_engine(pipeline)
    whole = heard(engine, INPUTS, listener)
    monkeypatch.setattr(engine._reading, "latents", None)
    monkeypatch.setattr(engine._reading, "embedding", None)
    assert np.array_equal(frames_of(engine, INPUTS, listener, whole.checkpoints[2]), whole.frames)


def without(state, name):
    return RenderState({other: tensor for other, tensor in state.tensors.items() if other != name}, state.facts)


def with_tensor(state, name, tensor):
    return RenderState({**state.tensors, name: tensor}, state.facts)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: without(state, "latents"),
        lambda state: with_tensor(state, "more", torch.zeros(1)),
        lambda state: with_tensor(state, "latents", state.tensors["latents"].double()),
        lambda state: with_tensor(state, "image_latents", state.tensors["image_latents"].repeat(1, 5, 1, 1)),
        lambda state: with_tensor(state, "embedding", state.tensors["embedding"][0]),
        *(lambda state, done=done: RenderState(state.tensors, {"done": done}) for done in (0, 5, -1, "2", None, True)),
        lambda state: RenderState(state.tensors, {}),
    ],
)
def test_a_checkpoint_of_another_kind_of_render_is_refused(engine, listener, change):
    state = state_after(2, heard(engine, INPUTS, listener), INPUTS)
    with pytest.raises(CheckpointRefused):
        engine.render(INPUTS, listener(), pack(change(state), FINGERPRINT, INPUTS))


def test_a_checkpoint_of_another_engine_or_another_image_is_refused_and_the_next_video_is_a_fresh_one(
    pipeline, engine, listener, data_uri
):
    checkpoint = heard(engine, INPUTS, listener).checkpoints[2]
    other_image = data_uri(Image.new("RGB", (64, 64)))
    used = an_engine(pipeline)
    with pytest.raises(CheckpointRefused, match="other inputs"):
        used.render(INPUTS | {"image": other_image}, listener(), checkpoint)
    with pytest.raises(CheckpointRefused, match="weights was tiny, is others"):
        an_engine(pipeline, {**FINGERPRINT, "weights": "others"}).render(INPUTS, listener(), checkpoint)
    assert np.array_equal(frames_of(used, INPUTS, listener), frames_of(engine, INPUTS, listener))
