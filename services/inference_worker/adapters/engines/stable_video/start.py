"""Where denoising starts: at noise and an encoded image, or where a checkpoint left it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from services.inference_worker.adapters.engines.state import RenderState
from services.inference_worker.domain.errors import CheckpointRefused

_DONE = "done"


@dataclass(frozen=True)
class Shapes:
    """How large the tensors of a render are, and of which dtype."""

    frames: int
    latent_channels: int
    height: int
    """Of the latents, as is `width`."""
    width: int
    embedding_channels: int
    dtype: torch.dtype

    def by_name(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor of a `Start`."""
        still = (self.latent_channels, self.height, self.width)
        return {
            "latents": (1, self.frames, *still),
            "image_latents": (1, *still),
            "embedding": (1, 1, self.embedding_channels),
        }


@dataclass(frozen=True)
class Start:
    """A video after `done` steps, and the image as the UNet is told of it. `Shapes` says how large the tensors are.

    The other branch of guidance is told of an image of zeros, which is not kept; nor is the image once for each frame.
    """

    latents: torch.Tensor
    image_latents: torch.Tensor
    """The image as the VAE encodes it, the same for every frame."""
    embedding: torch.Tensor
    """The image as CLIP sees it."""
    done: int = 0

    def at_rest(self) -> RenderState:
        """What it takes to start here again."""
        tensors = {
            "latents": self.latents,
            "image_latents": self.image_latents,
            "embedding": self.embedding,
        }
        return RenderState(tensors, {_DONE: self.done})


def start_from(rest: RenderState, shapes: Shapes, steps: int, device: torch.device) -> Start:
    """The start that was put to rest, on the device. Raises CheckpointRefused for one of another kind of render."""
    expected, done = shapes.by_name(), rest.facts.get(_DONE)
    if type(done) is not int or not 1 <= done <= steps:
        raise CheckpointRefused("the checkpoint does not say which of the steps are done")
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in rest.tensors.items()}
    if found != {name: (shape, shapes.dtype) for name, shape in expected.items()}:
        raise CheckpointRefused("the checkpoint holds other tensors than this render has")
    return Start(**{name: tensor.to(device) for name, tensor in rest.tensors.items()}, done=done)
