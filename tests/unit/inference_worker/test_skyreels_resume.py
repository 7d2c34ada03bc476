"""SkyReels renders that go on from a checkpoint."""

import json
import subprocess
import sys

import numpy as np
import pytest

from services.inference_worker.adapters.engines.skyreels.engine import SkyReelsEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import CheckpointRefused
from tests.unit.inference_worker.skyreels_bench import CPU, FINGERPRINT, LONG, MODES, a_request, an_engine
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

IN_ANOTHER_PROCESS = """
import json, sys
import numpy
from tests.unit.inference_worker.skyreels_bench import an_engine
from tests.unit.inference_worker.threads import one_thread

class Recorder:
    def __init__(self): self.shown = []
    def report(self, moment): ...
    def check(self): ...
    def show(self, frames): self.shown.append(frames)

request, checkpoint, video = sys.argv[1:]
recorder = Recorder()
with one_thread(), open(checkpoint, "rb") as file:
    an_engine().render(json.loads(request), recorder, file.read())
numpy.save(video, numpy.concatenate(recorder.shown))
"""


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def uninterrupted(listener):
    """A whole render, with its checkpoints."""

    def uninterrupted(request):
        ear = listener()
        ear.takes_checkpoints = True
        an_engine().render(request, ear)
        return ear

    return uninterrupted


@pytest.mark.parametrize(
    "changes",
    [
        MODES["causal"],
        MODES["sync"],
        MODES["async_full"],
        {"guidance_scale": 1.0, "num_inference_steps": 1},
        {"ar_step": 0},
        {**LONG, "addnoise_condition": 20, "num_inference_steps": 3},
        {
            "num_frames": 25,
            "base_num_frames": 21,
            "overlap_history": 9,
            "causal_block_size": 2,
            "num_inference_steps": 3,
        },
        {**LONG, **MODES["sync"], "addnoise_condition": 20, "num_inference_steps": 3},
    ],
)
def test_a_render_resumed_from_a_file_after_any_step_is_the_uninterrupted_one(
    uninterrupted, listener, tmp_path, changes
):
    request, file = a_request(**changes), tmp_path / "checkpoint"
    whole, engine = uninterrupted(request), an_engine()
    total = engine.plan(request).total_steps
    assert list(whole.checkpoints) == list(range(1, total + 1))
    for done, checkpoint in whole.checkpoints.items():
        file.write_bytes(checkpoint)
        ear = listener()
        engine.render(request, ear, file.read_bytes())
        assert np.array_equal(ear.frames, whole.frames)
        assert ear.steps == [(step, total) for step in range(done, total + 1)]


def test_a_render_resumed_in_another_process_is_the_uninterrupted_one(uninterrupted, tmp_path):
    request = a_request(**LONG, addnoise_condition=20)
    whole = uninterrupted(request)
    checkpoint, video = tmp_path / "checkpoint", tmp_path / "video.npy"
    checkpoint.write_bytes(whole.checkpoints[9])
    arguments = [sys.executable, "-c", IN_ANOTHER_PROCESS, json.dumps(request), str(checkpoint), str(video)]
    subprocess.run(arguments, check=True, timeout=120)
    assert np.array_equal(np.load(video), whole.frames)


def test_a_resumed_render_can_be_resumed_again(uninterrupted, listener):
    request = a_request(**LONG, addnoise_condition=20)
    whole, engine = uninterrupted(request), an_engine()
    second, third = listener(), listener()
    second.takes_checkpoints = True
    engine.render(request, second, whole.checkpoints[3])
    assert second.checkpoints == {done: whole.checkpoints[done] for done in second.checkpoints}
    engine.render(request, third, second.checkpoints[10])
    assert np.array_equal(third.frames, whole.frames)


def test_a_resumed_render_shows_what_is_final_before_it_takes_a_step(uninterrupted, listener):
    request, ear = a_request(), listener()
    whole, engine = uninterrupted(request), an_engine()
    engine.render(request, ear, whole.checkpoints[5])
    before_a_step = ear.moments[: next(n for n, moment in enumerate(ear.moments) if moment.done_steps == 6)]
    assert [moment.phase for moment in before_a_step if moment.phase is Phase.DECODING]
    assert sum(len(frames) for frames in ear.shown) == request["num_frames"]


@pytest.mark.parametrize(
    ("fingerprint", "changes"),
    [({**FINGERPRINT, "weights": "others"}, {}), (FINGERPRINT, {"seed": 78}), (FINGERPRINT, {"addnoise_condition": 5})],
)
def test_a_checkpoint_of_other_weights_or_inputs_is_refused(uninterrupted, listener, fingerprint, changes):
    checkpoint = uninterrupted(a_request()).checkpoints[2]
    engine, ear = SkyReelsEngine(tiny_skyreels(), CPU, fingerprint), listener()
    with pytest.raises(CheckpointRefused):
        engine.render(a_request(**changes), ear, checkpoint)
    assert ear.moments == []


def test_a_checkpoint_holds_nothing_of_finished_blocks_but_their_latents(uninterrupted):
    whole = uninterrupted(a_request())
    assert len(whole.checkpoints[5]) < len(whole.checkpoints[4])  # the first block took its last step with the fourth
