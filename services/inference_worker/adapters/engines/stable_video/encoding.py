"""What Stable Video Diffusion is told of an image: as CLIP sees it, and as the VAE encodes it."""

import copy
from typing import Any

import torch
from PIL import Image
from torch import nn


class ImageReading:
    """Reads images for the UNet through the parts of a pipeline, which stay as they are."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.encoder = _precise_encoder(pipeline.vae)
        """The VAE's. Its weights are its own where the VAE's are of half precision."""

    def embedding(self, image: Image.Image, device: torch.device) -> torch.Tensor:
        """The image as CLIP sees it: shape (1, 1, channels), in the dtype of CLIP's weights."""
        return self._pipeline._encode_image(image, device, 1, False)

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """The image in -1…1: shape (1, 3, height, width), fp32, on the CPU."""
        return self._pipeline.video_processor.preprocess(image, height=image.height, width=image.width)

    def latents(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels on the encoder's device, as the VAE encodes them: shape (1, channels, h, w)."""
        mean, _ = self.encoder(pixels.to(next(self.encoder.parameters()).dtype)).chunk(2, dim=1)
        return mean


def _precise_encoder(vae: Any) -> nn.Module:
    """The encoder, in fp32 where half precision would overflow in it.

    The pipeline lifts its whole VAE to fp32 for each encoding and puts it back, or not when something comes between,
    and then decodes in fp32 ever after. Here nothing is put back, because nothing was lifted.
    """
    encoder = nn.Sequential(vae.encoder, vae.quant_conv)
    if vae.dtype == torch.float16 and vae.config.force_upcast:
        return copy.deepcopy(encoder).float()
    return encoder
