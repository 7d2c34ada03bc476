"""What is rewritten of Stable Video Diffusion's modules computes what it did."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.stable_video import engine as engine_module
from services.inference_worker.adapters.engines.stable_video.arithmetic import DecoderArithmetic, UnetArithmetic
from services.inference_worker.adapters.engines.stable_video.cpu_decoder import ChannelsLastNorm, cpu_decoder
from services.inference_worker.adapters.engines.stable_video.rewrites import (
    OneTokenAttention,
    TimeConvolution,
    spare_attention_to_one_token,
    twin,
)
from tests.unit.inference_worker.stable_video_bench import (
    LARGEST_DIFFERENCE,
    an_engine,
    as_the_pipeline_has_them,
    frames_of,
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


@settings(max_examples=30)
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


@settings(max_examples=20)
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
