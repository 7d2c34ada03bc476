"""The smallest pipelines that do all that the real ones do, with the factors and schedulers of the real ones."""

from typing import Any

import torch

from models_demo.architectures import flow_scheduler
from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.random_weights.tokenizer import byte_tokenizer


def tiny_skyreels() -> Any:
    """A `SkyReelsV2DiffusionForcingPipeline`, always with the same weights; the global generators are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer, vocabulary = byte_tokenizer(max_tokens=512)
        pipeline = diffusers.SkyReelsV2DiffusionForcingPipeline(
            tokenizer=tokenizer,
            text_encoder=transformers.UMT5EncoderModel(
                transformers.UMT5Config(
                    vocab_size=vocabulary,
                    d_model=16,
                    d_kv=8,
                    d_ff=32,
                    num_layers=1,
                    num_heads=2,
                    feed_forward_proj="gated-gelu",
                    dropout_rate=0.0,
                )
            ).eval(),
            transformer=diffusers.SkyReelsV2Transformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                text_dim=16,
                freq_dim=16,
                ffn_dim=32,
                num_layers=3,
                inject_sample_info=True,
                rope_max_seq_len=64,
            ).eval(),
            vae=diffusers.AutoencoderKLWan(base_dim=4, num_res_blocks=1).eval(),
            scheduler=flow_scheduler(8.0),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
