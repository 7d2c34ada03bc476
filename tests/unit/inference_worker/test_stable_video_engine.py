"""The Stable Video Diffusion engine: beside the pipeline of diffusers on tiny weights, and what it can be asked for."""

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import attention_dispatch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from services.chassis.config import REPOSITORY
from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.engines.device import to_uint8, without_known_warnings
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.stable_video import engine as engine_module
from services.inference_worker.adapters.engines.stable_video.arithmetic import DecoderArithmetic, UnetArithmetic
from services.inference_worker.adapters.engines.stable_video.cpu_decoder import ChannelsLastNorm, cpu_decoder
from services.inference_worker.adapters.engines.stable_video.denoising import Denoising, Schedule
from services.inference_worker.adapters.engines.stable_video.engine import StableVideoDiffusionEngine
from services.inference_worker.adapters.engines.stable_video.rewrites import (
    OneTokenAttention,
    TimeConvolution,
    spare_attention_to_one_token,
    twin,
)
from services.inference_worker.adapters.engines.stable_video.start import Shapes, Start
from services.inference_worker.adapters.engines.state import RenderState, pack, unpack
from services.inference_worker.adapters.pillow_images import read_image
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import (
    CheckpointRefused,
    EngineFailed,
    OutOfMemory,
    RenderStopped,
    WeightsUnavailable,
)
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs
from tests.unit.inference_worker.tiny_svd import FINGERPRINT, INPUTS, tiny_svd

CPU = torch.device("cpu")
LARGEST_DIFFERENCE = 1e-5
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
def one_thread():
    """Threads wait for each other longer than they take for tensors as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pipeline():
    return tiny_svd()


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


@pytest.fixture(scope="module")
def engine(pipeline):
    return an_engine(pipeline)


def an_engine(pipeline: Any, fingerprint: Mapping[str, str] = FINGERPRINT) -> Any:
    return StableVideoDiffusionEngine(pipeline, CPU, fingerprint)


def heard(engine, inputs, listener, resume_from=None):
    """What a render told, its checkpoints included."""
    ear = listener()
    ear.takes_checkpoints = True
    engine.render(inputs, ear, resume_from)
    return ear


def frames_of(engine, inputs, listener, resume_from=None):
    ear = listener()
    engine.render(inputs, ear, resume_from)
    return ear.frames


def state_after(step, ear, inputs):
    return unpack(ear.checkpoints[step], FINGERPRINT, inputs)


def latents_of(ear, inputs):
    """The latents after the last step, of shape (1, frames, channels, h, w)."""
    return state_after(inputs["num_inference_steps"], ear, inputs).tensors["latents"]


def as_the_pipeline_has_them(pipeline, inputs):
    """Its latents. What is not said in `inputs` is as our defaults have it."""
    wanted = StableVideoInputs.read(inputs)
    image, _ = read_image(wanted.image, width=wanted.width, height=wanted.height)
    call = without_known_warnings()(pipeline.__call__)
    return call(
        image=image,
        width=wanted.width,
        height=wanted.height,
        num_frames=wanted.num_frames,
        num_inference_steps=wanted.num_inference_steps,
        min_guidance_scale=wanted.min_guidance_scale,
        max_guidance_scale=wanted.max_guidance_scale,
        fps=wanted.fps,
        motion_bucket_id=wanted.motion_bucket_id,
        noise_aug_strength=wanted.noise_aug_strength,
        generator=torch.Generator().manual_seed(wanted.seed),
        output_type="latent",
    ).frames


def as_the_pipeline_decodes_them(pipeline, latents, chunk_size):
    """Frames in -1…1 of shape (frames, height, width, 3)."""
    with torch.no_grad():
        return pipeline.decode_latents(latents, latents.shape[1], chunk_size)[0].permute(1, 2, 3, 0)


guidances = st.one_of(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 1.0])),  # off
    st.tuples(st.floats(0, 20), st.floats(1.01, 20)),
)


@settings(max_examples=12, deadline=None, derandomize=True)
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


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    channels=st.sampled_from([1, 3, 32]),
    frames=st.integers(1, 6),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    kernel=st.sampled_from([1, 3, 5]),
    is_frames_first=st.booleans(),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last_3d]),
)
def test_a_convolution_over_frames_can_be_flat(
    batch, channels, frames, height, width, kernel, is_frames_first, memory_format
):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution = torch.nn.Conv3d(channels, 32, (kernel, 1, 1), padding=(kernel // 2, 0, 0))
        features = torch.randn(batch, channels, frames, height, width)
    if is_frames_first:  # as the blocks of the model have them
        features = features.transpose(1, 2).contiguous().transpose(1, 2)
    assert TimeConvolution.can_stand_for(convolution)
    with torch.no_grad():
        found = TimeConvolution(convolution)(features.to(memory_format=memory_format))
        expected = convolution(features)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max()


@pytest.mark.parametrize(
    "other",
    [
        None,
        torch.nn.Conv2d(2, 2, (3, 1)),
        torch.nn.Conv3d(2, 2, 3, padding=1),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding=1),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0), stride=(2, 1, 1)),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0), dilation=(2, 1, 1)),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0), groups=2),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate"),
        torch.nn.Conv3d(2, 2, (3, 1, 1), padding="same"),
    ],
)
def test_other_convolutions_stay_what_they_are(other):
    assert not TimeConvolution.can_stand_for(other)


@pytest.mark.parametrize("bit_for_bit", [True, False])
@pytest.mark.parametrize("size", [(1, 2, 8, 8), (2, 1, 8, 8), (2, 5, 16, 8), (2, 25, 18, 32)])
def test_attention_to_one_token_need_not_look_at_what_is_asked(pipeline, size, bit_for_bit):
    unet = twin(pipeline.unet)
    spare_attention_to_one_token(unet, bit_for_bit=bit_for_bit)
    assert sum(isinstance(module, OneTokenAttention) for module in unet.modules()) == 8
    batch, frames, height, width = size
    generator = torch.Generator().manual_seed(0)
    noise, token = (
        torch.randn(shape, generator=generator) for shape in [(batch, frames, 8, height, width), (batch, 1, 16)]
    )
    with torch.no_grad():
        found, expected = (
            model(noise, torch.tensor(1.5), token, torch.ones(batch, 3)).sample for model in (unet, pipeline.unet)
        )
    assert (found - expected).abs().max() <= (0 if bit_for_bit else LARGEST_DIFFERENCE * expected.abs().max())


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from([(3, 32, 8, 4), (1, 64, 200, 200), (2, 32, 3, 7, 5), (1, 64, 5, 90, 90)]),
    mean=st.sampled_from([0.0, 3.0, -50.0]),
)
def test_a_group_norm_with_channels_last_is_exact_for_pictures_of_any_size(shape, mean):
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.GroupNorm(32, shape[1])
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)
        features = torch.randn(shape, generator=generator) + mean
        exact = copy.deepcopy(norm).double()(features.double())
        last = {4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)]
        given = features.to(memory_format=last)
        found = ChannelsLastNorm(norm)(given)
    assert (found - exact).abs().max() <= LARGEST_DIFFERENCE * (1 + abs(mean))
    assert torch.equal(given, features)


def test_the_decoder_for_the_cpu_makes_the_same_and_leaves_what_it_was_made_of(pipeline):
    latents = torch.randn(6, 4, 8, 4, generator=torch.Generator().manual_seed(0))

    def decoded(decoder):
        with torch.no_grad():
            return decoder(latents.clone(), image_only_indicator=torch.zeros(2, 3), num_frames=3)

    expected = decoded(pipeline.vae.decoder)
    found = decoded(cpu_decoder(pipeline.vae.decoder))
    assert (found - expected).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max()
    assert torch.equal(decoded(pipeline.vae.decoder), expected)


def test_what_is_rewritten_for_a_gpu_computes_the_same(pipeline):
    theirs = copy.copy(pipeline)
    theirs.unet, theirs.vae = copy.deepcopy(pipeline.unet), copy.deepcopy(pipeline.vae)
    unet, decoder = engine_module._rewritten(theirs, torch.device("cuda"))  # on which nothing is done here
    assert not any(isinstance(module, torch.nn.Conv3d) for model in (unet, decoder) for module in model.modules())
    generator = torch.Generator().manual_seed(0)
    noise, latents, token = (
        torch.randn(shape, generator=generator) for shape in [(2, 3, 8, 8, 16), (3, 4, 8, 16), (2, 1, 16)]
    )
    with torch.no_grad():
        outputs = [
            (
                a_unet(noise, torch.tensor(1.5), token, torch.ones(2, 3)).sample,
                a_decoder(latents, image_only_indicator=torch.zeros(1, 3), num_frames=3),
            )
            for a_unet, a_decoder in [(unet, decoder), (pipeline.unet, pipeline.vae.decoder)]
        ]
    for found, expected in zip(*outputs, strict=True):
        assert (found - expected).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max()


def test_one_frame_can_be_had_which_the_pipeline_cannot_make(engine, listener):
    assert frames_of(engine, INPUTS | {"num_frames": 1}, listener).shape == (1, 64, 64, 3)


def test_the_pipeline_stays_as_it_is(pipeline, listener):
    before = {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}
    modules = [type(module) for model in (pipeline.unet, pipeline.vae) for module in model.modules()]
    expected = as_the_pipeline_has_them(pipeline, INPUTS)
    frames_of(an_engine(pipeline), INPUTS, listener)
    assert [type(module) for model in (pipeline.unet, pipeline.vae) for module in model.modules()] == modules
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipeline.unet.state_dict().items())
    assert torch.equal(as_the_pipeline_has_them(pipeline, INPUTS), expected)


def test_two_engines_on_one_pipeline_take_its_weights_but_once(pipeline):
    unets = [an_engine(pipeline)._unet for _ in range(2)]
    addresses = [{weight.data_ptr() for weight in unet.parameters()} for unet in (*unets, pipeline.unet)]
    assert addresses[0] == addresses[1] <= addresses[2]


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
    start = Start(zeros["latents"], zeros["image_latents"], zeros["embedding"], zeros["time_ids"])
    denoising = Denoising(engine._unet, Schedule(pipeline.scheduler, 4, CPU), start, wanted)
    with torch.no_grad(), Operations() as ours:
        while not denoising.is_done:
            denoising.step()
    assert len(ours.names) > 100
    assert ours.of_waiting == []
    with Operations() as theirs:
        as_the_pipeline_has_them(pipeline, INPUTS)
    assert len(theirs.of_waiting) > INPUTS["num_inference_steps"]


def test_a_render_neither_hears_nor_moves_the_global_generator(engine, listener):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = frames_of(engine, INPUTS, listener)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(frames_of(engine, INPUTS, listener), first)


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
        "time_ids": (1, 3),
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


def test_the_arithmetic_of_the_real_model_is_counted_as_torch_counts_it():
    with torch.device("meta"):
        unet = diffusers.UNetSpatioTemporalConditionModel()
        decoder = diffusers.AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(128, 256, 512, 512), layers_per_block=2
        ).decoder
    spare_attention_to_one_token(unet, bit_for_bit=False)
    for model in (unet, decoder):
        model.to("meta")  # the shares of mixing, which take no heed of the device they are made for
    inputs = [torch.empty(shape, device="meta") for shape in [(1, 25, 8, 72, 128), (), (1, 1, 1024), (1, 3)]]
    with FlopCounterMode(display=False) as denoising:
        unet(*inputs)
    with FlopCounterMode(display=False) as decoding:
        decoder(
            torch.empty(25, 4, 72, 128, device="meta"),
            image_only_indicator=torch.zeros(1, 25, device="meta"),
            num_frames=25,
        )
    assert UnetArithmetic(unet).flops(25, 72, 128) == pytest.approx(denoising.get_total_flops(), rel=0.02)
    assert DecoderArithmetic(decoder).flops(25, 72, 128) == pytest.approx(decoding.get_total_flops(), rel=0.05)


def test_on_the_cpu_there_is_no_room_to_make(engine):
    assert not engine.make_room()


def test_pixels_are_rounded_not_cut_off():
    values = torch.tensor([-1.0, -0.9999, 0.0, 0.9985, 1.0, 1.5, -3.0])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0]
