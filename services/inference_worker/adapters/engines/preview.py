"""Small pictures of unfinished videos: what latents would look like decoded, at next to no cost."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from services.inference_worker.adapters.engines.device import to_uint8

LONGER_SIDE_PX = 256

_SAMPLES_PER_CHANNEL = 2
_FLAT_SIDE = 2


class LatentPreview:
    """Shows latents through a linear map from their channels to RGB.

    The map is fitted once, when this is made, by least squares on what the VAE makes of a few latents of one colour
    each, so it suits any VAE. The same VAE gives the same map, and torch's global generators are left alone.

    `decode_flat` takes float32 latents of shape (n, channels, h, w) on `device`, each of them one frame, and returns
    pixels in -1…1 of shape (n, 3, height, width) on any device.
    """

    def __init__(
        self, decode_flat: Callable[[torch.Tensor], torch.Tensor], channels: int, device: torch.device
    ) -> None:
        colours = torch.randn(_SAMPLES_PER_CHANNEL * channels, channels, generator=torch.Generator().manual_seed(0))
        flat = colours[:, :, None, None].expand(-1, -1, _FLAT_SIDE, _FLAT_SIDE).contiguous()
        with torch.no_grad():
            pixels = decode_flat(flat.to(device)).float().cpu().mean(dim=(2, 3))
        pixels = pixels.nan_to_num()  # broken weights are found by the videos they make, not by failing here
        with_constant = torch.cat([colours, torch.ones(len(colours), 1)], dim=1)
        fitted = torch.linalg.lstsq(with_constant.double(), pixels.double()).solution.float()
        self._weights = fitted[:-1].T.contiguous().to(device)
        self._constant = fitted[-1].to(device)

    @torch.no_grad()
    def picture(self, latents: torch.Tensor) -> NDArray[np.uint8]:
        """One frame's latents, of any dtype, shape (channels, h, w), as RGB of shape (height, width, 3).

        The picture keeps the aspect of the latents; its longer side has 256 pixels.
        """
        colours = torch.einsum("rc,chw->rhw", self._weights, latents.float()) + self._constant[:, None, None]
        scale = LONGER_SIDE_PX / max(latents.shape[1:])
        size = [max(1, round(side * scale)) for side in latents.shape[1:]]
        larger = interpolate(colours[None], size=size, mode="bilinear", align_corners=False)[0]
        return to_uint8(larger).permute(1, 2, 0).cpu().numpy()
