"""diffusers' pipelines of the demo models, put together from the trained parts in `weights/`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from models_demo.architectures import (
    diffusers,
    flow_scheduler,
    image_encoder,
    image_processor,
    image_to_video_unet,
    image_vae,
    skyreels_transformer,
    stable_video_scheduler,
    text_encoder,
    tokenizer,
    video_vae,
    wan_transformer,
)

WEIGHTS = Path(__file__).parent / "weights"


def stable_video() -> Any:
    """Stable Video Diffusion, as the XT checkpoint."""
    return diffusers.StableVideoDiffusionPipeline(
        vae=filled(image_vae(), WEIGHTS / "image_vae"),
        image_encoder=filled(image_encoder(), WEIGHTS / "image_encoder"),
        unet=filled(image_to_video_unet(), WEIGHTS / "image_to_video"),
        scheduler=stable_video_scheduler(),
        feature_extractor=image_processor(),
    )


def skyreels() -> Any:
    """SkyReels-V2 DF, with steps spaced for the few tokens of its pictures, not as in the 540P checkpoint."""
    return diffusers.SkyReelsV2DiffusionForcingPipeline(
        tokenizer=tokenizer(),
        text_encoder=filled(text_encoder(), WEIGHTS / "text_encoder"),
        transformer=filled(skyreels_transformer(), WEIGHTS / "text_to_video"),
        vae=filled(video_vae(), WEIGHTS / "video_vae"),
        scheduler=flow_scheduler(3.0),
    )


def wan() -> Any:
    """Wan 2.1, with the scheduler for 480p. Its transformer is that of SkyReels-V2, told of 16 frames a second."""
    transformer = wan_transformer()
    transformer.load_state_dict(at_sixteen_frames(filled(skyreels_transformer(), WEIGHTS / "text_to_video")))
    return diffusers.WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=filled(text_encoder(), WEIGHTS / "text_encoder"),
        transformer=transformer,
        vae=filled(video_vae(), WEIGHTS / "video_vae"),
        scheduler=flow_scheduler(3.0),
    )


@torch.no_grad()
def at_sixteen_frames(transformer: Any) -> dict[str, torch.Tensor]:
    """The weights for a transformer without frame rates that computes what this one does at 16 frames a second.

    What a rate adds to the modulation of layers is the same for all noise levels, so it goes into the bias.
    """
    weights = dict(transformer.state_dict())
    rate = transformer.fps_projection(transformer.fps_embedding(torch.zeros(1, dtype=torch.long)))[0]
    weights["condition_embedder.time_proj.bias"] = weights["condition_embedder.time_proj.bias"] + rate
    return {name: value for name, value in weights.items() if not name.startswith("fps_")}


def filled(model: Any, folder: Path) -> Any:
    """The model with the trained weights of a part, which are stored in half precision."""
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model
