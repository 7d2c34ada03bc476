"""Training: the same arithmetic as the models', latents that keep what is drawn, and courses that go on."""

import random
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import avg_pool2d

from models_demo import pipelines
from models_demo.architectures import (
    VIDEO_CHANNELS,
    image_vae,
    skyreels_transformer,
    text_encoder,
    tokenizer,
    wan_transformer,
)
from models_demo.textures import texture
from models_demo.training.cells import CELL, STEP, Cells, in_cells, picture_cells
from models_demo.training.course import Course
from models_demo.training.forward import embedded, predicted
from models_demo.training.linear_encoder import set_encoder
from models_demo.training.noise import known_frames, noise_levels
from models_demo.training.vae import frames_on_their_own

FRAMES = 4


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(1)
    return skyreels_transformer()


@pytest.fixture(scope="module")
def told():
    """Two texts of different lengths: for training, and as a pipeline embeds them."""
    torch.manual_seed(2)
    encoder, words = text_encoder(), tokenizer()
    texts = ["a red square", "a lighthouse at night over a blue background"]
    with torch.no_grad():
        ours = embedded(encoder, words, texts)
    whole = torch.zeros(2, 512, ours.embeddings.shape[2])
    for number, text in enumerate(texts):
        length = len(words(text).input_ids)
        whole[number, :length] = ours.embeddings[number, :length]
    return ours, whole


@pytest.mark.parametrize("block", [None, 2])
def test_training_computes_what_the_transformer_computes(transformer, told, block):
    texts, whole = told
    latents, timesteps = torch.randn(2, VIDEO_CHANNELS, FRAMES, 4, 6), torch.randint(0, 1000, (2, FRAMES))
    slow = torch.tensor([True, False])
    transformer._set_ar_attention(block or 1)
    with torch.no_grad():
        ours = predicted(transformer, latents, timesteps, texts, slow=slow, block=block)
        for number in range(2):
            one = slice(number, number + 1)
            theirs = transformer(
                latents[one],
                timesteps[one],
                whole[one],
                enable_diffusion_forcing=True,
                fps=[0 if slow[number] else 1],
                return_dict=False,
            )[0]
            assert torch.allclose(ours[one], theirs, atol=1e-5)
    transformer._set_ar_attention(1)


def test_wans_transformer_is_the_one_of_skyreels_at_16_frames_a_second(transformer, told):
    texts, whole = told
    wan = wan_transformer()
    wan.load_state_dict(pipelines.at_sixteen_frames(transformer))
    latents, level = torch.randn(2, VIDEO_CHANNELS, FRAMES, 4, 6), torch.tensor([700, 40])
    with torch.no_grad():
        theirs = wan(latents, level, whole, return_dict=False)[0]
        timesteps = level[:, None].expand(-1, FRAMES)
        ours = predicted(transformer, latents, timesteps, texts, slow=torch.tensor([True, True]), block=None)
    assert torch.allclose(ours, theirs, atol=1e-5)


def as_drawing(cells):
    """The opposite of `in_cells`, with all frames of the first latent frame."""
    side = CELL // STEP
    parts = cells.unflatten(4, (FRAMES, -1, side, side)).permute(0, 1, 4, 5, 2, 6, 3, 7)
    return parts.flatten(6, 7).flatten(4, 5).flatten(1, 2)


def test_cells_are_the_drawing_cut_up_with_its_first_frame_four_times():
    drawing = torch.randn(2, 5, 3, 16, 24)
    back = as_drawing(in_cells(drawing, FRAMES))
    assert torch.equal(back[:, 3:], drawing)
    assert torch.equal(back[:, 0], drawing[:, 0])


def test_latents_are_a_linear_map_of_cells_and_back():
    torch.manual_seed(3)
    directions, _ = torch.linalg.qr(torch.randn(768, 16))
    cells = Cells(torch.randn(768), directions, FRAMES)
    latents = torch.randn(1, 16, 2, 3, 4)
    drawing = as_drawing(latents.permute(0, 2, 3, 4, 1) @ torch.linalg.pinv(cells.components) + cells.mean)
    back = cells.of_pictures(drawing[:, 3:])
    assert back.shape == latents.shape
    assert torch.allclose(back[:, :, 1], latents[:, :, 1], atol=1e-4)


@pytest.mark.parametrize("block", [None, 1, 3])
def test_noise_levels_are_shares_one_for_each_frame(block):
    dice = random.Random(5)
    seen = set[int]()
    for _ in range(200):
        known = known_frames(6, block, dice)
        levels = noise_levels(6, block, known, dice)
        assert levels.shape == (6,)
        assert ((levels >= 0) & (levels <= 1)).all()
        assert levels[:known].le(0.02).all()
        assert known % (block or 1) == 0
        seen.add(known)
    assert seen == set(range(0, 6, block or 1))


@pytest.mark.parametrize("matrices", [0.0, 1e-2])
def test_a_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path, matrices):
    target = torch.randn(3, 4, generator=torch.Generator().manual_seed(6))

    def course(folder, steps):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(7)
        return Course("line", folder, torch.nn.Linear(4, 3), steps=steps, rate=1e-2, matrices=matrices)

    class Interrupted(Exception):
        pass

    def finish(each, until=None):
        def loss(step, dice):
            if step == until:
                raise Interrupted
            earlier = each.kept.setdefault("earlier", torch.zeros(8, 4))
            inputs = earlier + torch.randn(8, 4) * dice.random()
            each.kept["earlier"] = inputs / 2
            return (each.model(inputs) - inputs @ target.T).square().mean()

        each.finish(loss)

    whole = course(tmp_path / "whole", 60)
    finish(whole)
    stopped = course(tmp_path / "stopped", 60)
    with pytest.raises(Interrupted):
        finish(stopped, until=30)
    gone_on = course(tmp_path / "stopped", 60)
    assert gone_on.done == 30
    finish(gone_on)
    assert all(torch.equal(whole.mean[name], gone_on.mean[name]) for name in whole.mean)


def test_the_encoder_of_images_makes_the_components_of_their_cells():
    torch.manual_seed(9)
    cells = picture_cells(pipelines.WEIGHTS, 1.0)
    pictures = torch.stack([texture(96, 160, seed) for seed in (1, 2)])
    vae = image_vae()
    set_encoder(vae, cells)
    with torch.no_grad():
        made = vae.encode(pictures).latent_dist.mean
    wanted = cells.of_pictures(avg_pool2d(pictures, STEP)[:, None])[:, :, 0]
    assert torch.allclose(made, wanted, atol=5e-3)
    assert wanted.std() > 0.3


def test_a_decoder_that_learned_from_single_frames_paints_those_of_a_video_the_same():
    torch.manual_seed(8)
    vae, latents = image_vae(), torch.randn(3, 16, 2, 3)
    with torch.no_grad(), frames_on_their_own(vae.decoder):
        learned = vae.decode(latents, num_frames=1).sample
    with torch.no_grad():
        painted = vae.decode(latents, num_frames=3).sample
    assert torch.allclose(painted, learned, atol=1e-4)
    assert learned.std() > 0.01


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    def course(values):
        return Course("line", tmp_path, torch.nn.Linear(4, values), steps=1, rate=1e-2)

    first = course(3)
    first.finish(lambda _step, _dice: first.model(torch.ones(4)).sum())
    with pytest.raises(ValueError, match=r"line\.pt.*delete it"):
        course(2)


@pytest.mark.only_full_size
def test_a_short_training_leaves_weights_that_make_a_video(tmp_path, monkeypatch):
    command = [sys.executable, "-m", "models_demo.training", "--share", "0.0004"]
    folders = ["--folder", str(tmp_path / "course"), "--weights", str(tmp_path / "weights")]
    subprocess.run([*command, *folders], check=True, timeout=250, stdout=subprocess.DEVNULL)
    monkeypatch.setattr(pipelines, "WEIGHTS", tmp_path / "weights")
    for made in (pipelines.skyreels(), pipelines.wan()):
        asked = {"height": 64, "width": 64, "num_frames": 5, "num_inference_steps": 2}
        assert made("a red square", **asked, output_type="np").frames.shape == (1, 5, 64, 64, 3)
