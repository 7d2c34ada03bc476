"""The decoder of Wan's VAE beside diffusers' own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from services.inference_worker.adapters.engines.random_weights.skyreels import build_skyreels
from services.inference_worker.adapters.engines.wan_decoder import WanDecoder, pixels_of
from tests.unit.inference_worker.threads import one_thread
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

LARGEST_DIFFERENCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def in_one_thread():
    with one_thread():
        yield


def demo_vae():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build_skyreels(torch.Generator().manual_seed(1)).vae


@pytest.fixture(scope="module")
def vaes():
    """With the real factors, and with patches of pixels."""
    return {"real": tiny_skyreels().vae, "patches": demo_vae()}


def noise(*size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(3))


def decoded_by_diffusers(vae, latents):
    """As its pipelines do: (frames, 3, height, width)."""
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        return vae.decode(latents / (1.0 / deviation) + mean).sample[0].transpose(0, 1)


def decoded(decoder, latents):
    decoding = decoder.begin()
    return torch.cat([decoding.frames_of(latents[:, :, number]) for number in range(latents.shape[2])])


@pytest.fixture(scope="module")
def decoders(vaes):
    return {kind: WanDecoder(vae) for kind, vae in vaes.items()}


@settings(max_examples=15)
@given(
    kind=st.sampled_from(["real", "patches"]),
    latent_frames=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_it_decodes_as_diffusers_does(vaes, decoders, kind, latent_frames, height, width):
    latents = noise(1, 16, latent_frames, height, width)
    found = decoded(decoders[kind], latents)
    expected = decoded_by_diffusers(vaes[kind], latents)
    assert found.shape == expected.shape
    assert (found - expected).norm() <= LARGEST_DIFFERENCE * expected.norm()


def test_videos_under_way_at_the_same_time_do_not_know_of_each_other(decoders):
    decoder, latents = decoders["real"], noise(2, 16, 3, 4, 4)
    alone = [decoded(decoder, latents[:1]), decoded(decoder, latents[1:])]
    decodings = [decoder.begin(), decoder.begin()]
    taking_turns = [
        [decoding.frames_of(latents[number : number + 1, :, frame]) for number, decoding in enumerate(decodings)]
        for frame in range(3)
    ]
    for whole, pieces in zip(alone, zip(*taking_turns, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(pieces))


def test_the_vae_is_neither_changed_nor_needed_any_more():
    vae, latents = demo_vae(), noise(1, 16, 2, 3, 3)
    expected = decoded_by_diffusers(vae, latents)
    decoder = WanDecoder(vae)
    assert torch.equal(decoded_by_diffusers(vae, latents), expected)
    before = decoded(decoder, latents)
    for parameter in vae.parameters():
        parameter.data.zero_()
    assert torch.equal(decoded(decoder, latents), before)


def test_all_of_it_moves_to_another_device(vaes):
    decoder = WanDecoder(vaes["real"]).to("meta")
    assert decoded(decoder, torch.zeros(1, 16, 2, 4, 4, device="meta")).device.type == "meta"


def test_stills_are_videos_of_one_frame(decoders):
    decoder, latents = decoders["real"], noise(3, 16, 4, 4)
    stills = decoder.stills(latents)
    assert stills.shape == (3, 3, 32, 32)
    assert torch.equal(stills[1:2], decoder.begin().frames_of(latents[1:2]))


def test_its_arithmetic_is_known_beforehand(decoders):
    decoder = decoders["real"]
    with FlopCounterMode(display=False) as counter:
        decoded(decoder, noise(1, 16, 3, 8, 6))
    # Without that of the attention of the pixels.
    assert decoder.flops(3, 8, 6) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_pixels_are_rounded_and_cut_at_the_right_and_the_bottom():
    frames = torch.linspace(-1.2, 1.2, 2 * 3 * 4 * 5).view(2, 3, 4, 5)
    pixels = pixels_of(frames, 3, 2)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (2, 3, 2, 3))
    expected = frames[:, :, :3, :2].permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    assert np.abs(pixels - expected.clip(0, 255)).max() <= 0.5
