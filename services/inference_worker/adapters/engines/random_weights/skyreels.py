"""Random weights of SkyReels-V2: clouds of colour that flow into each other and answer to the prompt."""

from typing import Any

import torch

from models_demo.architectures import flow_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.random_weights.painting import mixing, soften
from services.inference_worker.adapters.engines.random_weights.tokenizer import byte_tokenizer

_PATCH = 2
_CONTRAST = 0.7


def build_skyreels(generator: torch.Generator) -> Any:
    """The pipeline. Its VAE shrinks by 32 instead of 8, half of which is a patch of pixels: 960x576 is 30x18 latents.

    The scheduler is that of the 540P checkpoint.
    """
    tokenizer, vocabulary = byte_tokenizer(max_tokens=512)
    return diffusers.SkyReelsV2DiffusionForcingPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=vocabulary,
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
                pad_token_id=0,
                eos_token_id=1,
            )
        ).eval(),
        transformer=diffusers.SkyReelsV2Transformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=4,
            attention_head_dim=24,
            in_channels=16,
            out_channels=16,
            text_dim=32,
            freq_dim=64,
            ffn_dim=192,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            inject_sample_info=True,
            rope_max_seq_len=1024,
        ).eval(),
        vae=_vae(generator).eval(),
        scheduler=flow_scheduler(8.0),
    )


def _vae(generator: torch.Generator) -> Any:
    vae = diffusers.AutoencoderKLWan(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        # One entry per halving that the pipeline counts; the last stands for the patch. Read from the front by the
        # encoder and from the back by the decoder, so the two halvings in time stand where both of them look.
        temperal_downsample=[False, False, True, True, False],
        patch_size=_PATCH,
        in_channels=3 * _PATCH**2,
        out_channels=3 * _PATCH**2,
        scale_factor_spatial=32,
    )
    soften(vae, generator)
    with torch.no_grad():
        for block in vae.decoder.up_blocks:
            for upsampler in block.upsamplers or []:
                if hasattr(upsampler, "time_conv"):
                    _flow_between_frames(upsampler.time_conv)
        _paint_between_pixels(vae.decoder.conv_out, generator)
    return vae


def _flow_between_frames(time_conv: Any) -> None:
    """Where one frame becomes two, make the first the middle between the last and this one, the second this one."""
    channels = time_conv.in_channels
    same = torch.eye(channels)
    time_conv.bias.zero_()
    time_conv.weight.zero_()
    time_conv.weight[:channels, :, 1, 0, 0] = 0.5 * same
    time_conv.weight[:channels, :, 2, 0, 0] = 0.5 * same
    time_conv.weight[channels:, :, 2, 0, 0] = same


def _paint_between_pixels(conv_out: Any, generator: torch.Generator) -> None:
    """Where one value becomes a patch of pixels, place each pixel between its neighbours instead of repeating it."""
    towards = (torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.0, 0.75, 0.25]))
    colours = mixing(conv_out, generator).sum(dim=(2, 3, 4))[:3] * _CONTRAST
    conv_out.bias.zero_()
    conv_out.weight.zero_()
    for colour in range(3):
        for column in range(_PATCH):
            for row in range(_PATCH):
                place = towards[row][:, None] * towards[column][None, :]
                channel = (colour * _PATCH + column) * _PATCH + row
                conv_out.weight[channel, :, 2] = colours[colour][:, None, None] * place
