"""The catalogue's pipelines at their full size, with random numbers for weights, made where they shall run."""

from collections.abc import Callable
from typing import Any

import torch

from models_demo.architectures import flow_scheduler, image_processor, stable_video_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.random_weights.tokenizer import byte_tokenizer

_PROMPT_TOKENS = 512
_SEED = 0


def stable_video(device: torch.device) -> Any:
    """A `StableVideoDiffusionPipeline` of the sizes of SVD-XT, in fp16."""

    def made(make: Callable[[], Any]) -> Any:
        return as_loaded(make, torch.float16, device)

    pipeline = diffusers.StableVideoDiffusionPipeline(
        vae=made(
            lambda: diffusers.AutoencoderKLTemporalDecoder(
                latent_channels=4,
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                block_out_channels=(128, 256, 512, 512),
                sample_size=768,
                scaling_factor=0.18215,
            )
        ),
        image_encoder=made(
            lambda: transformers.CLIPVisionModelWithProjection(
                transformers.CLIPVisionConfig(
                    hidden_size=1280,
                    intermediate_size=5120,
                    projection_dim=1024,
                    num_hidden_layers=32,
                    num_attention_heads=16,
                    image_size=224,
                    patch_size=14,
                    hidden_act="gelu",
                )
            )
        ),
        unet=made(lambda: diffusers.UNetSpatioTemporalConditionModel(sample_size=96)),
        scheduler=stable_video_scheduler(),
        feature_extractor=image_processor(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def skyreels(device: torch.device, *, thin_text_encoder: bool = False) -> Any:
    """A `SkyReelsV2DiffusionForcingPipeline` of the sizes of DF 1.3B 540P: bf16, its VAE fp32.

    A thin text encoder makes embeddings of the same shape out of one narrow layer: 11 GiB less.
    """
    tokenizer, _ = byte_tokenizer(max_tokens=_PROMPT_TOKENS)
    width = {"num_layers": 1, "num_heads": 1, "d_ff": 64} if thin_text_encoder else {}
    pipeline = diffusers.SkyReelsV2DiffusionForcingPipeline(
        tokenizer=tokenizer,
        text_encoder=as_loaded(
            lambda: transformers.UMT5EncoderModel(
                transformers.UMT5Config(
                    **{
                        "vocab_size": 1024 if thin_text_encoder else 256384,
                        "d_model": 4096,
                        "d_kv": 64,
                        "d_ff": 10240,
                        "num_layers": 24,
                        "num_heads": 64,
                        "feed_forward_proj": "gated-gelu",
                        "dropout_rate": 0.0,
                        **width,
                    }
                )
            ),
            torch.bfloat16,
            device,
        ),
        transformer=as_loaded(
            lambda: diffusers.SkyReelsV2Transformer3DModel(
                patch_size=(1, 2, 2),
                num_attention_heads=12,
                attention_head_dim=128,
                in_channels=16,
                out_channels=16,
                text_dim=4096,
                freq_dim=256,
                ffn_dim=8960,
                num_layers=30,
                cross_attn_norm=True,
                qk_norm="rms_norm_across_heads",
                inject_sample_info=True,
                rope_max_seq_len=1024,
            ),
            torch.bfloat16,
            device,
        ),
        vae=as_loaded(diffusers.AutoencoderKLWan, torch.float32, device),
        scheduler=flow_scheduler(8.0),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_loaded(make: Callable[[], Any], dtype: torch.dtype, device: torch.device) -> Any:
    """What `make` makes, on the device and in the number formats in which `from_pretrained` would leave it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            torch.manual_seed(_SEED)
            model = make()
    finally:
        torch.set_default_dtype(before)
    model.to(device)  # some layers make parameters of Python numbers, which no default places
    # Those of transformers are kept for fp16 only, and no encoder here has both.
    kept = (
        set(getattr(model, "_keep_in_fp32_modules", None) or ()) if isinstance(model, diffusers.ModelMixin) else set()
    )
    for name, parameter in model.named_parameters():
        if kept & set(name.split(".")):
            parameter.data = parameter.data.float()
    return model.eval()
