"""The work of the shipped models is that of their engines."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from services.catalog.domain import ROUTING_FIELDS, Model
from services.catalog.domain.work import Work
from services.inference_worker.adapters.engines.skyreels.schedule import schedule
from services.inference_worker.domain.inputs.skyreels import Mode, SkyReelsInputs
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs
from services.inference_worker.domain.inputs.wan import WanInputs

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"
READERS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    SVD: StableVideoInputs.read,
    SKYREELS: SkyReelsInputs.read,
    WAN: WanInputs.read,
}


@pytest.fixture
def work_of(shipped_models: tuple[Model, ...]) -> Callable[[str], Work]:
    return lambda slug: next(model for model in shipped_models if model.slug == slug).versions[0].work


def _amounts(work: Work, phase: str, **inputs: Any) -> list[float]:
    amounts = work.of({**work.example, **inputs}).parts
    return [amount for part, amount in zip(work.parts, amounts, strict=True) if part.phase == phase]


@pytest.mark.parametrize("slug", READERS)
def test_the_example_is_the_unit(work_of: Callable[[str], Work], slug: str) -> None:
    work = work_of(slug)
    amounts = work.of(work.example)
    assert set(amounts.parts) == {1.0}
    assert amounts.memory == 1
    assert amounts.output_seconds == pytest.approx(work.example["num_frames"] / work.example["fps"])
    assert sum(part.share for part in work.parts) == pytest.approx(1)


@pytest.mark.parametrize("slug", [SVD, WAN])
def test_twice_the_steps_are_twice_the_denoising_and_nothing_else(work_of: Callable[[str], Work], slug: str) -> None:
    work = work_of(slug)
    steps = 2 * work.example["num_inference_steps"]
    assert _amounts(work, "denoising", num_inference_steps=steps) == [2, 2]
    for phase in ("encoding", "decoding", "muxing", "storing"):
        assert _amounts(work, phase, num_inference_steps=steps) == [1]


@pytest.mark.parametrize("slug", READERS)
def test_without_guidance_denoising_is_half(work_of: Callable[[str], Work], slug: str) -> None:
    assert _amounts(work_of(slug), "denoising", guidance_scale=1) == [0.5, 0.5]


def test_attention_grows_with_the_square_of_what_sees_each_other(work_of: Callable[[str], Work]) -> None:
    assert _amounts(work_of(WAN), "denoising", width=416, height=240) == [0.25, 0.0625]
    assert _amounts(work_of(WAN), "denoising", num_frames=41) == pytest.approx([11 / 21, (11 / 21) ** 2])
    assert _amounts(work_of(SVD), "denoising", width=512, height=576) == [0.5, 0.25]
    assert _amounts(work_of(SVD), "denoising", num_frames=5) == [0.2, 0.2]


def test_what_the_work_does_not_depend_on_changes_nothing(work_of: Callable[[str], Work]) -> None:
    work = work_of(SKYREELS)
    assert work.key_of({**work.example, "seed": 1, "fps": 8.0, "width": 960.0}) == work.example_key
    assert work.key_of({**work.example, "num_frames": 57}) != work.example_key
    assert "seed" not in work.inputs
    assert "fps" not in work.inputs


def test_more_frames_decoded_at_a_time_need_more_memory_and_no_more_time(work_of: Callable[[str], Work]) -> None:
    work = work_of(SVD)
    whole = work.of({**work.example, "decode_chunk_size": 25})
    assert whole.memory == 25 / 8
    assert set(whole.parts) == {1.0}


@pytest.mark.parametrize("slug", READERS)
def test_the_engine_takes_what_a_probe_renders(shipped_models: tuple[Model, ...], slug: str) -> None:
    version = next(model for model in shipped_models if model.slug == slug).versions[0]
    example = {name: value for name, value in version.inputs.example.items() if name not in ROUTING_FIELDS}
    assert len(version.probe_inputs) >= 4
    for inputs in version.probe_inputs:
        READERS[slug]({**example, **inputs})
    assert len({version.work.key_of({**version.work.example, **inputs}) for inputs in version.probe_inputs}) >= 4


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"num_inference_steps": 40},
        {"num_frames": 57, "ar_step": 10},
        {"num_frames": 17},
        {"ar_step": 50},
        {"ar_step": 0},
        {"ar_step": 0, "causal_block_size": None},
        {"ar_step": 5, "causal_block_size": 5, "mode": "async_full"},
        {"ar_step": 2, "causal_block_size": 1},
        {"num_frames": 177, "overlap_history": 17, "addnoise_condition": 0},
        {"num_frames": 177, "overlap_history": 17, "addnoise_condition": 0, "ar_step": 0},
        {"num_frames": 177, "overlap_history": 17},
        {"num_frames": 257, "overlap_history": 37, "ar_step": 0, "causal_block_size": None},
    ],
)
def test_skyreels_passes_are_those_of_its_schedule(work_of: Callable[[str], Work], inputs: dict[str, Any]) -> None:
    work = work_of(SKYREELS)
    linear, attention = _amounts(work, "denoising", **inputs)
    if inputs.get("causal_block_size", 5) is None:
        without = {name: value for name, value in work.example.items() if name != "causal_block_size"}
        amounts = work.of({**without, **inputs}).parts
        linear, attention = [
            amount for part, amount in zip(work.parts, amounts, strict=True) if part.phase == "denoising"
        ]
    frames, seen = _passes({**work.example, **inputs})
    frames_of_example, seen_of_example = _passes(work.example)
    # Exact but for windows: those after the first count as equally long, and frames with noise on them as alike.
    tolerance = 0.1 if inputs.get("num_frames", 0) > 97 else 1e-9
    assert linear == pytest.approx(frames / frames_of_example, rel=tolerance)
    assert attention == pytest.approx(seen / seen_of_example, rel=tolerance)


def _passes(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """How often latent frames go through the engine's model, summed, and how many frames those see, summed."""
    wanted = SkyReelsInputs.read({**inputs, "prompt": "a cat", "negative_prompt": ""})
    is_causal = wanted.mode is Mode.CAUSAL
    frames = seen = 0
    for window in wanted.windows():
        plan = schedule(
            window.latent_frames,
            window.taken_over,
            steps=wanted.num_inference_steps,
            ar_step=wanted.ar_step,
            block=wanted.block,
            causal=is_causal,
            steady=not (window.taken_over and wanted.addnoise_condition > 0),
        )
        block = wanted.block if is_causal else window.latent_frames
        for iteration in plan.iterations:
            computed = [*iteration.remembered, *iteration.seen]
            frames += len(computed)
            seen += sum(min((frame // block + 1) * block, window.latent_frames) for frame in computed)
    return frames, seen
