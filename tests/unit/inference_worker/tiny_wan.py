"""The smallest `WanPipeline` that does all that the real one does, with the real one's factors and scheduler."""

from collections.abc import Mapping
from typing import Any

import torch

from models_demo.architectures import flow_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

FINGERPRINT: Mapping[str, str] = {"weights": "tiny", "attention": "default"}
INPUTS: dict[str, Any] = {
    "prompt": "a lantern on a stream",
    "negative_prompt": "blurry",
    "width": 64,
    "height": 80,
    "num_frames": 9,
    "num_inference_steps": 5,
    "guidance_scale": 5.0,
    "seed": 21,
    "fps": 16,
}


def tiny_wan() -> Any:
    """The pipeline, always with the same weights. Text encoder and VAE are SkyReels', as those of the real ones are."""
    kin = tiny_skyreels()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformer = diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=16,
            freq_dim=16,
            ffn_dim=32,
            num_layers=3,
            rope_max_seq_len=64,
        ).eval()
    pipeline = diffusers.WanPipeline(
        tokenizer=kin.tokenizer,
        text_encoder=kin.text_encoder,
        transformer=transformer,
        vae=kin.vae,
        scheduler=flow_scheduler(3.0),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
