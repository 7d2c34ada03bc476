"""Random weights of Wan 2.1: clouds of colour as from SkyReels-V2, which grew out of it."""

from typing import Any

import torch

from models_demo.architectures import flow_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.random_weights.skyreels import build_skyreels

_SEED = 8
"""Chosen among the first few by the look of their videos, which should not be taken for those of SkyReels."""


def build_wan(generator: torch.Generator) -> Any:
    """The pipeline. Text encoder and VAE are built like SkyReels', as the real ones; the scheduler is that for 480p."""
    kin = build_skyreels(generator.manual_seed(_SEED))
    return diffusers.WanPipeline(
        tokenizer=kin.tokenizer,
        text_encoder=kin.text_encoder,
        transformer=diffusers.WanTransformer3DModel(
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
            rope_max_seq_len=1024,
        ).eval(),
        vae=kin.vae,
        scheduler=flow_scheduler(3.0),
    )
