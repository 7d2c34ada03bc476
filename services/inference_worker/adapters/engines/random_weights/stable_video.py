"""Random weights of Stable Video Diffusion: the image's own shapes, recoloured and drifting."""

from typing import Any

import torch

from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.random_weights.painting import soften

_SCALING = 0.18215


def build_stable_video(generator: torch.Generator) -> Any:
    """The pipeline.

    Its VAE shrinks by 32 instead of 8: 1024x576 is 32x18 latents, and sizes go by 64 as in the real one. The scheduler
    and the image processor are those of the XT checkpoint.
    """
    return diffusers.StableVideoDiffusionPipeline(
        vae=_vae(generator).eval(),
        image_encoder=transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                projection_dim=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=224,  # what the pipeline resizes to, whatever the model
                patch_size=32,
                hidden_act="gelu",
            )
        ).eval(),
        unet=_unet(generator).eval(),
        scheduler=diffusers.EulerDiscreteScheduler(
            num_train_timesteps=1000,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            interpolation_type="linear",
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
            timestep_spacing="leading",
            timestep_type="continuous",
            steps_offset=1,
            rescale_betas_zero_snr=False,
        ),
        feature_extractor=transformers.CLIPImageProcessor(
            crop_size={"height": 224, "width": 224},
            size={"shortest_edge": 224},
            image_mean=[0.48145466, 0.4578275, 0.40821073],
            image_std=[0.26862954, 0.26130258, 0.27577711],
        ),
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
