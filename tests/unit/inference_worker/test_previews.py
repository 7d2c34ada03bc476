"""Pictures of unfinished videos."""

import numpy as np
import pytest
import torch

from services.inference_worker.adapters.engines.preview import LatentPreview

CPU = torch.device("cpu")

MIX = torch.tensor([[0.2, -0.1, 0.0, 0.1], [0.0, 0.3, 0.1, 0.0], [-0.2, 0.0, 0.1, 0.05]])
SHIFT = torch.tensor([0.1, -0.2, 0.3])


def decode_linearly(latents: torch.Tensor) -> torch.Tensor:
    """A VAE that is its own preview, eight times as large."""
    pixels = torch.einsum("rc,nchw->nrhw", MIX, latents) + SHIFT[:, None, None]
    return pixels.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def a_preview() -> LatentPreview:
    return LatentPreview(decode_linearly, 4, CPU)


def test_a_preview_finds_the_colours_that_the_vae_makes():
    latents = torch.tensor([0.5, -1.0, 0.25, 2.0])[:, None, None].expand(-1, 9, 16)
    expected = ((decode_linearly(latents[None])[0, :, 0, 0] + 1) * 127.5).round().to(torch.uint8)
    picture = a_preview().picture(latents)
    assert np.abs(picture.astype(int) - expected.numpy().astype(int)).max() <= 1  # fitted, so a rounding may differ


@pytest.mark.parametrize(
    ("latent_size", "picture_size"),
    [
        ((9, 16), (144, 256)),
        ((16, 9), (256, 144)),
        ((1, 1), (256, 256)),
        ((512, 256), (256, 128)),
        ((1, 1000), (1, 256)),
    ],
)
def test_a_preview_keeps_the_aspect_and_has_256_pixels_at_its_longer_side(latent_size, picture_size):
    picture = a_preview().picture(torch.zeros(4, *latent_size))
    assert picture.shape == (*picture_size, 3)
    assert picture.dtype == np.uint8


def test_a_preview_shows_where_things_are():
    latents = torch.zeros(4, 2, 2)
    latents[1, 0] = -2.0
    latents[1, 1] = 2.0
    green = a_preview().picture(latents)[:, :, 1].astype(int)
    assert green[0].max() < green[-1].min()
    assert (np.diff(green, axis=0) >= 0).all()  # bilinear: no blocks, no rings


def test_latents_in_half_precision_can_be_shown():
    latents = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(3)).half()
    assert np.array_equal(a_preview().picture(latents), a_preview().picture(latents.float()))


def test_previews_neither_hear_nor_move_the_global_generator():
    latents, pictures = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(3)), []
    for seed in (5, 6):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        pictures.append(LatentPreview(lambda flat: decode_linearly(flat).tanh(), 4, CPU).picture(latents))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(*pictures)


def test_a_vae_that_is_broken_makes_a_broken_picture_and_no_error():
    preview = LatentPreview(lambda latents: torch.full((len(latents), 3, 16, 16), float("nan")), 4, CPU)
    assert preview.picture(torch.zeros(4, 2, 2)).shape == (256, 256, 3)
