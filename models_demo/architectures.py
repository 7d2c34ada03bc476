"""The models' architectures: those of the checkpoints they stand for, narrow. All weights come out random."""

from typing import Any

import diffusers as _diffusers
import transformers as _transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from models_demo.captions import vocabulary

# Both fill their namespaces when asked: a type checker cannot see what is there.
diffusers: Any = _diffusers
transformers: Any = _transformers

TEXT_TOKENS = 512
_TEXT_CHANNELS = 64
VIDEO_CHANNELS = 26
"""Of the latents of videos."""
_PATCH = 2
_SPECIAL = ["<pad>", "</s>", "<unk>"]
_TRANSFORMER: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    # Few heads: only the fast ones of a head's rotations tell neighbours apart, and a wider head has more of them.
    "num_attention_heads": 2,
    "attention_head_dim": 80,
    "in_channels": VIDEO_CHANNELS,
    "out_channels": VIDEO_CHANNELS,
    "text_dim": _TEXT_CHANNELS,
    "freq_dim": 64,
    "ffn_dim": 640,
    "num_layers": 4,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
}


def tokenizer() -> Any:
    """One token a word of the captions' language, one and the same for every other word; ends texts with `</s>`."""
    numbered = {token: number for number, token in enumerate([*_SPECIAL, *vocabulary()])}
    words = Tokenizer(models.WordLevel(vocab=numbered, unk_token="<unk>"))  # noqa: S106 — a token of text
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]+"), "removed")
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", numbered["</s>"])]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",  # noqa: S106 — as above
        eos_token="</s>",  # noqa: S106 — as above
        unk_token="<unk>",  # noqa: S106 — as above
        model_max_length=TEXT_TOKENS,
    )


def text_encoder() -> Any:
    """UMT5's, of 64 channels and two layers."""
    return transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=len(_SPECIAL) + len(vocabulary()),
            d_model=_TEXT_CHANNELS,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    ).eval()


def skyreels_transformer() -> Any:
    """That of SkyReels-V2 DF, of 160 channels and four layers."""
    return diffusers.SkyReelsV2Transformer3DModel(**_TRANSFORMER, inject_sample_info=True).eval()


def wan_transformer() -> Any:
    """That of Wan 2.1, of the same size."""
    return diffusers.WanTransformer3DModel(**_TRANSFORMER).eval()


def image_vae() -> Any:
    """That of Stable Video Diffusion, which shrinks by 32 instead of 8, with 16 channels that need no scaling."""
    return diffusers.AutoencoderKLTemporalDecoder(
        latent_channels=16,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 6,
        block_out_channels=(32, 32, 32, 64, 96, 128),
        scaling_factor=1.0,
    ).eval()


def image_encoder() -> Any:
    """CLIP's for images, of 32 channels and two layers."""
    return transformers.CLIPVisionModelWithProjection(
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
    ).eval()


def image_to_video_unet() -> Any:
    """That of Stable Video Diffusion XT, of two levels."""
    return diffusers.UNetSpatioTemporalConditionModel(
        sample_size=32,
        in_channels=32,
        out_channels=16,
        num_frames=25,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(64, 64),
        layers_per_block=1,
        transformer_layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=(2, 2),
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    ).eval()


def video_vae() -> Any:
    """Wan's, which shrinks by 32 instead of 8, half of which is a patch of pixels, and by 4 in time."""
    return diffusers.AutoencoderKLWan(
        base_dim=8,
        z_dim=VIDEO_CHANNELS,
        dim_mult=[1, 1, 2, 4, 8],
        num_res_blocks=1,
        # One entry per halving that the pipeline counts; the last stands for the patch. Read from the front by the
        # encoder and from the back by the decoder, so the two halvings in time stand where both of them look.
        temperal_downsample=[False, False, True, True, False],
        patch_size=_PATCH,
        in_channels=3 * _PATCH**2,
        out_channels=3 * _PATCH**2,
        scale_factor_spatial=32,
        latents_mean=[0.0] * VIDEO_CHANNELS,
        latents_std=[1.0] * VIDEO_CHANNELS,
    ).eval()


def flow_scheduler(flow_shift: float) -> Any:
    """That of SkyReels-V2 and Wan 2.1, which spaces its steps by the shift."""
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift, num_train_timesteps=1000
    )


def stable_video_scheduler() -> Any:
    """That of the XT checkpoint of Stable Video Diffusion."""
    return diffusers.EulerDiscreteScheduler(
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
    )


def image_processor() -> Any:
    """CLIP's, as the XT checkpoint has it."""
    return transformers.CLIPImageProcessor(
        crop_size={"height": 224, "width": 224},
        size={"shortest_edge": 224},
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
