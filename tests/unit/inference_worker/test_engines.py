"""What every engine promises, checked on each of them; the scripted one must keep it too."""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.scripted_engine import ScriptedEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import CheckpointRefused, RenderStopped

REAL = ("svd", "skyreels", "skyreels-blocks", "skyreels-long", "wan")


@dataclass(frozen=True)
class Subject:
    """An engine and its inputs."""

    engine: Any
    inputs: Callable[..., dict[str, Any]]
    fresh: Callable[[], Any]
    """Another engine on the same weights."""


def subject_named(name: str, request: pytest.FixtureRequest) -> Subject:
    if name == "scripted":
        defaults = {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 4, "fps": 7}
        return Subject(ScriptedEngine(), lambda **changes: {**defaults, **changes}, ScriptedEngine)
    slug, _, variant = name.partition("-")
    changes = {
        "blocks": {"num_frames": 29, "causal_block_size": 2, "ar_step": 2},
        "long": {"num_frames": 21, "base_num_frames": 13, "overlap_history": 5, "addnoise_condition": 20},
    }.get(variant, {})
    inputs, load = request.getfixturevalue(f"{slug}_inputs"), request.getfixturevalue("load")
    return Subject(request.getfixturevalue(slug), lambda **more: inputs(**{**changes, **more}), lambda: load(slug))


@pytest.fixture(params=["scripted", *REAL])
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_named(request.param, request)


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Subject:
    return subject_named(request.param, request)


def give_back_free_memory():
    """Where the C library can: what it keeps for later comes and goes by tens of megabytes, and is no leak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def rendered(engine, inputs, listener, resume_from=None):
    ear = listener()
    engine.render(inputs, ear, resume_from)
    return ear.frames


def checkpoints_of(engine, inputs, listener):
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(inputs, ear)
    return ear.checkpoints


def test_a_video_has_the_planned_frames_as_rgb(subject, make):
    inputs = subject.inputs()
    made = make(subject.engine, inputs)
    assert made.frames.dtype == np.uint8
    assert made.frames.shape == (made.plan.num_frames, made.plan.height, made.plan.width, 3)
    asked = tuple(inputs[name] for name in ("num_frames", "height", "width", "fps"))
    assert asked == (made.plan.num_frames, made.plan.height, made.plan.width, made.plan.fps)


def test_every_planned_step_is_reported_when_it_is_finished(subject, listener):
    ear = listener()
    subject.engine.render(subject.inputs(), ear)
    total = subject.engine.plan(subject.inputs()).total_steps
    assert ear.steps == [(done, total) for done in range(total + 1)]
    assert ear.phases == [Phase.ENCODING, Phase.DENOISING, Phase.DECODING]
    for phase in (Phase.DENOISING, Phase.DECODING):
        shares = [moment.share for moment in ear.moments if moment.phase is phase]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_every_step_offers_a_preview_and_a_checkpoint(subject, listener):
    previews = []
    ear = listener(stop_at=lambda moment: bool(moment.preview and previews.append(moment.preview())))
    ear.takes_checkpoints = True
    subject.engine.render(subject.inputs(), ear)
    total = subject.engine.plan(subject.inputs()).total_steps
    assert list(ear.checkpoints) == list(range(1, total + 1))
    assert len(previews) == total
    for picture in previews:
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert max(picture.shape) <= 256


def test_a_plan_guesses_every_phase_of_the_device(subject):
    guess = subject.engine.plan(subject.inputs()).guess_seconds
    assert all(guess[phase] > 0 for phase in (Phase.ENCODING, Phase.DENOISING, Phase.DECODING))


def test_a_larger_video_is_planned_to_take_longer(real):
    small, large = (real.engine.plan(real.inputs(width=side, height=side)).guess_seconds for side in (64, 128))
    assert large[Phase.DENOISING] > small[Phase.DENOISING]
    assert large[Phase.DECODING] > small[Phase.DECODING]


def test_the_peak_memory_of_every_phase_is_known(real, make):
    peaks = make(real.engine, real.inputs()).rendered.peak_memory
    assert list(peaks) == [Phase.ENCODING, Phase.DENOISING, Phase.DECODING]
    assert all(peak.allocated_bytes > 0 for peak in peaks.values())


@pytest.mark.parametrize("step", [0, 1, 3])
def test_stopping_takes_effect_before_another_step_and_nothing_more_is_decoded(subject, listener, step):
    ear = listener(stop_at=lambda moment: moment.phase is Phase.DENOISING and moment.done_steps == step)
    with pytest.raises(RenderStopped):
        subject.engine.render(subject.inputs(), ear)
    assert ear.steps[-1][0] == step
    assert ear.shown == []


def test_decoding_can_be_stopped_too(subject, listener):
    ear = listener(stop_at=lambda moment: moment.phase is Phase.DECODING)
    with pytest.raises(RenderStopped):
        subject.engine.render(subject.inputs(), ear)


def test_the_same_seed_makes_the_same_video_and_another_seed_another(real, listener):
    first, second, other = (rendered(real.engine, real.inputs(seed=seed), listener) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_after_a_stop_anywhere_the_next_video_is_that_of_a_fresh_engine(real, listener):
    used = real.fresh()
    for at in (Phase.ENCODING, Phase.DENOISING, Phase.DECODING):
        for skipped in (0, 1):
            ear = listener(stop_at=Countdown(at, skipped))
            with pytest.raises(RenderStopped):
                used.render(real.inputs(seed=5, num_inference_steps=6, guidance_scale=2.0), ear)
            if at is Phase.ENCODING:
                break
    again, fresh = (rendered(engine, real.inputs(seed=9), listener) for engine in (used, real.fresh()))
    assert np.array_equal(again, fresh)


class Countdown:
    """Says yes at the moment of a phase that comes after so many others."""

    def __init__(self, phase: Phase, skipped: int) -> None:
        self._phase, self._left = phase, skipped

    def __call__(self, moment: Any) -> bool:
        if moment.phase is not self._phase:
            return False
        self._left -= 1
        return self._left < 0


def test_a_render_resumed_after_any_step_is_the_uninterrupted_one_bit_for_bit(subject, listener):
    inputs = subject.inputs()
    whole = rendered(subject.engine, inputs, listener)
    other = subject.fresh()
    for checkpoint in checkpoints_of(subject.engine, inputs, listener).values():
        assert np.array_equal(rendered(other, inputs, listener, checkpoint), whole)


def test_a_resumed_render_reports_only_the_steps_that_are_left(subject, listener):
    inputs = subject.inputs()
    total = subject.engine.plan(inputs).total_steps
    checkpoints = checkpoints_of(subject.engine, inputs, listener)
    for first in (1, total):
        ear = listener()
        subject.engine.render(inputs, ear, checkpoints[first])
        assert ear.steps == [(done, total) for done in range(first, total + 1)]


NEW_DIRECTIONS = {
    "svd": {"guidance_scale": 9.0, "min_guidance_scale": 2.0, "motion_bucket_id": 5, "fps": 24, "decode_chunk_size": 1},
    "skyreels": {"prompt": "a dog", "negative_prompt": "dark", "guidance_scale": 1.0, "fps": 16},
    "wan": {"prompt": "a dog", "negative_prompt": "dark", "guidance_scale": 1.0, "fps": 24},
}


ONLY_IN_THE_FILE = ("wan", "fps")


@pytest.fixture(params=REAL)
def branching(request: pytest.FixtureRequest) -> tuple[Subject, dict[str, Any]]:
    """An engine, and another value for each of its free inputs."""
    return subject_named(request.param, request), NEW_DIRECTIONS[request.param.partition("-")[0]]


def test_the_free_inputs_are_those_that_can_lead_elsewhere(branching):
    subject, changes = branching
    assert subject.engine.free_inputs == changes.keys()


def test_a_branch_is_neither_the_old_video_nor_the_new_one_from_the_start_and_always_the_same(branching, listener):
    subject, changes = branching
    old, new = subject.inputs(), subject.inputs(**changes)
    checkpoint = checkpoints_of(subject.engine, old, listener)[2]
    branch = rendered(subject.engine, new, listener, checkpoint)
    assert np.array_equal(branch, rendered(subject.fresh(), new, listener, checkpoint))
    assert not np.array_equal(branch, rendered(subject.engine, old, listener))
    assert not np.array_equal(branch, rendered(subject.engine, new, listener))


@pytest.mark.parametrize("slug", NEW_DIRECTIONS)
def test_each_free_input_leads_elsewhere_by_itself(request, listener, slug):
    subject = subject_named(slug, request)
    old = subject.inputs()
    checkpoint, whole = checkpoints_of(subject.engine, old, listener)[1], rendered(subject.engine, old, listener)
    for name, value in NEW_DIRECTIONS[slug].items():
        branch = rendered(subject.engine, {**old, name: value}, listener, checkpoint)
        assert np.array_equal(branch, whole) == ((slug, name) == ONLY_IN_THE_FILE), name


def test_a_branch_that_is_resumed_is_the_uninterrupted_branch_bit_for_bit(branching, listener):
    subject, changes = branching
    new = subject.inputs(**changes)
    checkpoint = checkpoints_of(subject.engine, subject.inputs(), listener)[1]
    ear = listener()
    ear.takes_checkpoints = True
    subject.engine.render(new, ear, checkpoint)
    other = subject.fresh()
    for later in ear.checkpoints.values():
        assert np.array_equal(rendered(other, new, listener, later), ear.frames)


def test_every_input_that_is_not_free_is_refused_by_name_in_a_branch(branching, listener):
    subject, changes = branching
    checkpoint = checkpoints_of(subject.engine, subject.inputs(), listener)[1]
    for name, value in {"seed": 4, "width": 128, "num_inference_steps": 5}.items():
        with pytest.raises(CheckpointRefused, match=f"of other inputs: {name}$"):
            subject.engine.render(subject.inputs(**changes, **{name: value}), listener(), checkpoint)


def test_a_checkpoint_of_other_inputs_or_of_none_is_refused_before_any_work(real, listener):
    checkpoint = checkpoints_of(real.engine, real.inputs(seed=1), listener)[1]
    for inputs, blob in (
        (real.inputs(seed=2), checkpoint),
        (real.inputs(seed=1), checkpoint[:-100]),
        (real.inputs(), b""),
    ):
        ear = listener()
        with pytest.raises(CheckpointRefused):
            real.engine.render(inputs, ear, blob)
        assert ear.shown == []


def test_videos_move_and_have_contrast(real, listener):
    frames = rendered(real.engine, real.inputs(width=192, height=128), listener).astype(float)
    assert frames.std() > 10
    assert np.abs(frames[-1] - frames[0]).mean() > 1


@pytest.mark.parametrize("changes", [{"width": 100}, {"num_frames": 0}, {"fps": None, "speed": 1}, {"seed": "x"}])
def test_inputs_are_checked_before_any_work(real, listener, changes):
    ear = listener()
    with pytest.raises(InvalidInput):
        real.engine.plan(real.inputs(**changes))
    with pytest.raises(InvalidInput):
        real.engine.render(real.inputs(**changes), ear)
    assert ear.moments == []


@pytest.mark.cut_short
@pytest.mark.parametrize("name", ["svd", "skyreels-blocks", "wan"])
def test_memory_does_not_grow_over_videos_of_mixed_sizes(request, listener, name):
    subject = subject_named(name, request)
    sizes = [64, 128, 192]

    def render_mixed(count: int) -> int:
        for number in range(count):
            side, steps = sizes[number % len(sizes)], 1 + number % 2
            inputs = subject.inputs(width=side, height=side, num_inference_steps=steps, seed=number)
            subject.engine.render(inputs, listener())
        gc.collect()
        give_back_free_memory()
        return psutil.Process().memory_info().rss

    before = render_mixed(10)  # caches fill up
    after = render_mixed(50 if request.config.getoption("--full-size") else 15)
    assert after < before + 20_000_000
