"""SkyReels shows frames while it goes on, and leaves off when told to."""

from itertools import pairwise

import numpy as np
import pytest
from safetensors.torch import load

from services.inference_worker.adapters.engines.wan_decoder import pixels_of
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import EngineFailed, RenderStopped
from tests.unit.inference_worker.skyreels_bench import LONG, MODES, a_request, an_engine, latents_in
from tests.unit.inference_worker.threads import one_thread

LAYERS = 3


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def engine():
    return an_engine()


class Counter:
    """A Listener that counts what happens, and stops the render when it looks for the `stop_at`th time."""

    def __init__(self, stop_at: int | None = None):
        self.looks = self.frames = self.steps = self.after_stop = 0
        self.looks_by_step = {0: 0}
        self.frames_by_step = {0: 0}
        self._stop_at = stop_at

    def report(self, moment):
        self.after_stop += self._stopped
        self.steps = max(self.steps, moment.done_steps)
        self.looks_by_step[self.steps] = self.looks

    def show(self, frames):
        self.after_stop += self._stopped
        self.frames += len(frames)
        self.frames_by_step[self.steps] = self.frames

    def check(self):
        self.looks += 1
        if self._stopped:
            raise RenderStopped

    @property
    def _stopped(self):
        return self._stop_at is not None and self.looks >= self._stop_at


@pytest.mark.parametrize(
    ("changes", "frames_after"),
    [
        # In blocks of five that are two steps apart, of four steps each.
        ({**MODES["causal"], "num_frames": 57}, {4: 17, 6: 37, 8: 57}),
        ({**MODES["async_full"], "num_frames": 57}, {4: 17, 6: 37, 8: 57}),
        # In step, all frames are final at once; but those of a window are final before the next begins.
        (MODES["sync"], {4: 37}),
        ({**MODES["sync"], **LONG}, {4: 37, 8: 57}),
        # The first five latent frames of the second window are the last ones of the first.
        ({**MODES["causal"], **LONG}, {4: 17, 6: 37, 10: 57}),
    ],
)
def test_frames_are_shown_as_soon_as_they_are_final_and_the_plan_knows_where_they_are_cut(
    engine, changes, frames_after
):
    counter = Counter()
    engine.render(a_request(**changes), counter)
    assert {step: frames for step, frames in counter.frames_by_step.items() if frames} == frames_after
    cuts = [*engine.plan(a_request(**changes)).cuts]
    assert cuts == ([*frames_after.values()] if len(frames_after) > 1 else [])


@pytest.mark.parametrize("changes", [MODES["causal"], {**MODES["causal"], **LONG, "addnoise_condition": 20}])
def test_frames_shown_early_are_those_of_decoding_at_the_end(engine, listener, changes):
    request, ear = a_request(**changes), listener()
    ear.takes_checkpoints = True
    engine.render(request, ear)
    latents = latents_in(ear.checkpoints[max(ear.checkpoints)], request)
    decoding = engine._model.decoder.begin()
    at_the_end = [
        pixels_of(decoding.frames_of(latents[:, :, number]), request["height"], request["width"])
        for number in range(latents.shape[2])
    ]
    assert np.array_equal(ear.frames, np.concatenate(at_the_end))


def test_frames_are_shown_one_latent_frame_at_a_time(engine, listener):
    ear = listener()
    engine.render(a_request(), ear)
    assert [len(frames) for frames in ear.shown] == [1] + [4] * 9


def test_denoising_and_decoding_take_turns(engine, listener):
    ear = listener()
    engine.render(a_request(), ear)
    phases = [moment.phase for moment in ear.moments]
    turns = [phase for phase, before in zip(phases, [None, *phases], strict=False) if phase is not before]
    assert turns == [Phase.ENCODING, *[Phase.DENOISING, Phase.DECODING] * 2]


def test_every_step_offers_a_picture_of_what_the_newest_block_is_expected_to_become(engine):
    pictures, expected = [], []

    class Viewer(Counter):
        def report(self, moment):
            if moment.preview:
                pictures.append(moment.preview())
                clean = load(moment.checkpoint())[f"part.{0 if moment.done_steps <= 2 else 1}.output.1"]
                expected.append(engine._model.preview.picture(clean[0, :, 2]))

    engine.render(a_request(), Viewer())
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((256, 205, 3), np.dtype(np.uint8))}
    assert np.array_equal(pictures, expected)
    assert not any(np.array_equal(one, other) for one, other in pairwise(pictures))


def test_a_stop_is_looked_for_before_each_layer_and_after_each_latent_frame(engine):
    counter = Counter()
    engine.render(a_request(**MODES["sync"]), counter)
    between_steps = np.diff([counter.looks_by_step[step] for step in range(1, 5)])
    assert all(looks >= LAYERS for looks in between_steps[:-1])
    assert between_steps[-1] >= LAYERS + 10


@pytest.mark.parametrize("changes", [MODES["causal"], {**MODES["causal"], **LONG, "addnoise_condition": 20}])
def test_a_render_can_be_stopped_anywhere_and_the_next_is_that_of_a_fresh_engine(engine, listener, changes):
    other, whole, counter = a_request(**MODES["sync"], seed=1), listener(), Counter()
    an_engine().render(other, whole)
    engine.render(a_request(**changes), counter)
    for stop_at in range(1, counter.looks + 1, 5):
        stopped = Counter(stop_at)
        with pytest.raises(RenderStopped):
            engine.render(a_request(**changes), stopped)
        assert stopped.looks == stop_at
        assert stopped.after_stop == 0
        if stop_at % 4 == 0:
            ear = listener()
            engine.render(other, ear)
            assert np.array_equal(ear.frames, whole.frames)


def test_a_render_stopped_after_its_last_step_decodes_nothing_more(engine, listener):
    ear = listener(stop_at=lambda moment: moment.done_steps == 6)
    with pytest.raises(RenderStopped):
        engine.render(a_request(), ear)
    assert [len(frames) for frames in ear.shown] == [1, 4, 4, 4, 4]  # the first block, final before


def test_latents_that_are_not_finite_are_never_shown(listener):
    engine, ear = an_engine(), listener()
    engine._model.transformer._model.proj_out.bias.data[0] = float("nan")
    with pytest.raises(EngineFailed, match="finite"):
        engine.render(a_request(), ear)
    assert ear.shown == []
