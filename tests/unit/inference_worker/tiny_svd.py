"""The smallest Stable Video Diffusion that does all that the real one does."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from services.inference_worker.adapters.engines.libraries import diffusers, transformers

FINGERPRINT: Mapping[str, str] = {"weights": "tiny", "attention": "default"}


def _noise_picture() -> str:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


INPUTS: dict[str, Any] = {
    "image": _noise_picture(),
    "width": 64,
    "height": 64,
    "num_frames": 5,
    "num_inference_steps": 4,
    "guidance_scale": 3.0,
    "seed": 17,
    "fps": 7,
    "decode_chunk_size": 3,
}


def tiny_svd(*, vae_levels: int = 4) -> Any:
    """A `StableVideoDiffusionPipeline`, always with the same weights; the global generators are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = diffusers.UNetSpatioTemporalConditionModel(
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=16,
            num_attention_heads=(2, 4),
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
        )
        vae = diffusers.AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * vae_levels, block_out_channels=(32,) * vae_levels
        )
        image_encoder = transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=32,
                projection_dim=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=224,  # what the pipeline resizes to, whatever the model
                patch_size=56,
            )
        )
        with torch.no_grad():
            for model in (unet, vae):
                for name, parameter in model.named_parameters():
                    if name.endswith("mix_factor"):  # frames and their neighbours in unequal parts, as when trained
                        parameter.normal_()
    pipeline = diffusers.StableVideoDiffusionPipeline(
        vae=vae.eval(),
        image_encoder=image_encoder.eval(),
        unet=unet.eval(),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
            timestep_spacing="leading",
            timestep_type="continuous",
            steps_offset=1,
        ),
        feature_extractor=transformers.CLIPImageProcessor(
            image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711]
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
