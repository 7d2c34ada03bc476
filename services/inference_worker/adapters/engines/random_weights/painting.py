"""First weights that paint: convolutions that blend instead of scattering make soft pictures without training."""

import torch

_BLUR = torch.tensor([0.25, 0.5, 0.25])


def soften(model: torch.nn.Module, generator: torch.Generator, *, gain: float = 1.5, bias: float = 0.2) -> None:
    """Give every convolution of `model` a random mix of its channels, each blurred over the kernel.

    Random kernels would turn anything into noise of the size of a pixel; blurring ones, many in a row, give clouds.
    """
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
            module.weight.data = mixing(module, generator) * gain
            if module.bias is not None:
                module.bias.data = torch.randn(module.bias.shape, generator=generator) * bias


def mixing(module: torch.nn.Conv2d | torch.nn.Conv3d, generator: torch.Generator) -> torch.Tensor:
    """Weights in the shape of `module`'s: random over channels, a blur over space and time."""
    out_channels, in_channels, *kernel = module.weight.shape
    blur = torch.ones(())
    for size in kernel:
        blur = blur[..., None] * (_BLUR if size == len(_BLUR) else torch.full((size,), 1 / size))
    channels = torch.randn(out_channels, in_channels, generator=generator) / in_channels**0.5
    return channels.view(out_channels, in_channels, *(1 for _ in kernel)) * blur
