"""Random weights of Stable Video Diffusion: the image's own shapes, recoloured and drifting."""

from typing import Any

import torch

from models_demo.architectures import image_encoder, image_processor, stable_video_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.random_weights.painting import soften

_SCALING = 0.18215


def build_stable_video(generator: torch.Generator) -> Any:
    """The pipeline.

    Its VAE shrinks by 32 instead of 8: 1024x576 is 32x18 latents, and sizes go by 64 as in the real one. The scheduler
    and the image processor are those of the XT checkpoint.
    """
    return diffusers.StableVideoDiffusionPipeline(
        vae=_vae(generator).eval(),
        image_encoder=image_encoder(),
        unet=_unet(generator).eval(),
        scheduler=stable_video_scheduler(),
        feature_extractor=image_processor(),
    )


def _unet(generator: torch.Generator) -> Any:
    unet = diffusers.UNetSpatioTemporalConditionModel(
        sample_size=32,
        in_channels=8,
        out_channels=4,
        num_frames=25,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        transformer_layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=(2, 4),
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    )
    soften(unet, generator)
    with torch.no_grad():
        # Hear the noise (the first half of the channels) softly and the image loudly: its shapes then show.
        unet.conv_in.weight[:, :4] *= 0.1
        unet.conv_in.weight[:, 4:] *= 2
        unet.conv_out.bias.zero_()
        for module in unet.modules():
            if hasattr(module, "time_pos_embed"):
                module.time_pos_embed.linear_2.weight *= 4  # what differs from frame to frame: it makes things move
    return unet


def _vae(generator: torch.Generator) -> Any:
    vae = diffusers.AutoencoderKLTemporalDecoder(
        latent_channels=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 6,
        block_out_channels=(32,) * 6,
        scaling_factor=_SCALING,
    )
    soften(vae, generator)
    with torch.no_grad():
        vae.decoder.conv_in.weight *= _SCALING
        vae.decoder.conv_out.weight *= 0.8
        vae.decoder.conv_out.bias.zero_()
        over_time = vae.decoder.time_conv_out
        over_time.bias.zero_()
        over_time.weight.zero_()
        for channel in range(3):  # no colour of one frame may leak into another colour of the next
            over_time.weight[channel, channel, :, 0, 0] = torch.tensor([0.25, 0.5, 0.25])
    return vae
