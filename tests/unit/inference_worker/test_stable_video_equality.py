"""The Stable Video Diffusion engine beside the pipeline of diffusers, on tiny weights."""

import numpy as np
import pytest
import torch
from diffusers.models import attention_dispatch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from services.inference_worker.adapters.engines.device import to_uint8
from services.inference_worker.adapters.engines.stable_video import engine as engine_module
from services.inference_worker.adapters.engines.stable_video.denoising import Denoising, Schedule
from services.inference_worker.adapters.engines.stable_video.rewrites import twin
from services.inference_worker.adapters.engines.stable_video.start import Start
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs
from tests.unit.inference_worker.stable_video_bench import (
    CPU,
    LARGEST_DIFFERENCE,
    an_engine,
    as_the_pipeline_decodes_them,
    as_the_pipeline_has_them,
    frames_of,
    heard,
    latents_of,
)
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_svd import FINGERPRINT, INPUTS, tiny_svd


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


guidances = st.one_of(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 1.0])),  # off
    st.tuples(st.floats(0, 20), st.floats(1.01, 20)),
)


@settings(max_examples=12)
@given(
    width=st.sampled_from([64, 128]),
    height=st.sampled_from([64, 128]),
    num_frames=st.integers(2, 5),
    num_inference_steps=st.integers(1, 5),
    guidance=guidances,
    seed=st.one_of(st.integers(0, 2**53 - 1), st.sampled_from([0, 2**32 - 1, 2**32, 2**53 - 1])),
    fps=st.integers(1, 60),
    motion_bucket_id=st.integers(0, 255),
    noise_aug_strength=st.floats(0, 1),
    decode_chunk_size=st.integers(1, 8),
)
def test_its_latents_are_those_of_the_pipeline_bit_for_bit_and_its_frames_but_for_rounding(
    pipeline, engine, listener, guidance, **changes
):
    inputs = {**INPUTS, **changes, "min_guidance_scale": guidance[0], "guidance_scale": guidance[1]}
    ear, expected = heard(engine, inputs, listener), as_the_pipeline_has_them(pipeline, inputs)
    assert torch.equal(latents_of(ear, inputs), expected)
    decoded = as_the_pipeline_decodes_them(pipeline, expected, inputs["decode_chunk_size"])
    largest = 127.5 * LARGEST_DIFFERENCE * decoded.abs().max().item()
    assert np.abs(ear.frames - ((decoded.numpy() + 1) * 127.5).clip(0, 255)).max() <= 0.5 + largest


def test_without_rewrites_its_frames_too_are_those_of_the_pipeline_bit_for_bit(pipeline, listener, monkeypatch):
    shown = []
    monkeypatch.setattr(engine_module, "_rewritten", lambda pipeline, _device: (pipeline.unet, pipeline.vae.decoder))
    monkeypatch.setattr(engine_module, "to_uint8", lambda pixels: shown.append(pixels) or to_uint8(pixels))
    ear, expected = heard(an_engine(pipeline), INPUTS, listener), as_the_pipeline_has_them(pipeline, INPUTS)
    assert torch.equal(latents_of(ear, INPUTS), expected)
    decoded = as_the_pipeline_decodes_them(pipeline, expected, INPUTS["decode_chunk_size"])
    assert torch.equal(torch.cat(shown).permute(0, 2, 3, 1), decoded)
    assert np.array_equal(ear.frames, to_uint8(decoded).numpy())


class Operations(TorchDispatchMode):
    """Remembers what torch is made to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # pyright: ignore[reportIncompatibleMethodOverride] — called so by torch
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))

    @property
    def of_waiting(self) -> list[str]:
        """Those for which a process has to wait for its GPU."""
        return [name for name in self.names if "_local_scalar_dense" in name or "nonzero" in name]


def test_a_step_never_waits_for_the_device_as_one_of_the_pipeline_does(pipeline, engine):
    wanted = StableVideoInputs.read(INPUTS)
    zeros = {name: torch.zeros(shape) for name, shape in engine._shapes(wanted).by_name().items()}
    start = Start(zeros["latents"], zeros["image_latents"], zeros["embedding"])
    denoising = Denoising(engine._unet, Schedule(pipeline.scheduler, 4, CPU), start, wanted)
    with torch.no_grad(), Operations() as ours:
        while not denoising.is_done:
            denoising.step()
    assert len(ours.names) > 100
    assert ours.of_waiting == []
    with Operations() as theirs:
        as_the_pipeline_has_them(pipeline, INPUTS)
    assert len(theirs.of_waiting) > INPUTS["num_inference_steps"]


def attentions_by_flash(run):
    with torch.no_grad(), Operations() as operations:
        run()
    return sum("flash_attention" in name for name in operations.names)


def test_the_attention_kernel_of_the_fingerprint_is_used_all_along(pipeline, listener, monkeypatch):
    chosen = []

    def only_mathematics(kernel):
        chosen.append(kernel)
        return sdpa_kernel(SDPBackend.MATH)

    engine = an_engine(pipeline, {**FINGERPRINT, "attention": "theirs"})
    monkeypatch.setattr(engine_module, "attention_kernel", only_mathematics)
    assert attentions_by_flash(lambda: engine.render(INPUTS, listener())) == 0
    assert chosen == ["theirs"]


@pytest.fixture
def restored_backend(monkeypatch):
    """What diffusers uses for attention is one choice for the whole process, also when it is set on one model."""
    registry = attention_dispatch._AttentionBackendRegistry
    monkeypatch.setattr(registry, "_active_backend", registry._active_backend)


@pytest.mark.usefixtures("restored_backend")
def test_what_diffusers_has_for_choosing_kernels_does_nothing_on_this_unet(pipeline):
    unet = twin(pipeline.unet)
    inputs = torch.zeros(1, 2, 8, 8, 8), torch.tensor(1.5), torch.zeros(1, 1, 16), torch.ones(1, 3)
    before = attentions_by_flash(lambda: unet(*inputs))
    unet.set_attention_backend("_native_math")
    unet.fuse_qkv_projections()
    assert attentions_by_flash(lambda: unet(*inputs)) == before > 0


def test_compiled_as_whole_regions_it_computes_the_same(pipeline, engine, listener):
    compiled, inputs = an_engine(pipeline), INPUTS | {"num_inference_steps": 2, "num_frames": 3}
    regions = []

    def traced(region):
        regions.append(region)
        return torch.compile(region, fullgraph=True, dynamic=False, backend="eager")

    compiled.compile_regions(traced)
    assert len(regions) > 10
    assert np.array_equal(frames_of(compiled, inputs, listener), frames_of(engine, inputs, listener))


def test_a_preview_shows_what_the_middle_frame_is_expected_to_become(pipeline, engine, listener, monkeypatch):
    expected, step = [], pipeline.scheduler.step

    def remembering(*args, **kwargs):
        taken = step(*args, **kwargs)
        expected.append(taken.pred_original_sample[0, INPUTS["num_frames"] // 2])
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.scheduler, "step", remembering)
        as_the_pipeline_has_them(pipeline, INPUTS)
    shown = []
    ear = listener(stop_at=lambda moment: bool(moment.preview and shown.append(moment.preview())))
    engine.render(INPUTS, ear)
    assert len(shown) == len(expected) == INPUTS["num_inference_steps"]
    for picture, latents in zip(shown, expected, strict=True):
        assert np.array_equal(picture, engine._preview.picture(latents))
    assert np.array_equal(ear.frames, frames_of(engine, INPUTS, listener))  # looking changes nothing
