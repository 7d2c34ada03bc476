"""What the device can do at best, and its attention kernels on the shapes of the models."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from torch.nn.attention import sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from bench.gpu.measuring import GIB, Stage
from bench.gpu.notebook import rate_of
from bench.gpu.subjects import Subject
from services.inference_worker.adapters.engines.device import dtype_for
from services.inference_worker.adapters.engines.kernels import DEFAULT, KERNELS, AttentionShape, choose_attention_kernel

_FRAME, _FRAMES, _BLOCK = 2040, 25, 5
"""Of the SkyReels example: tokens of a latent frame, latent frames, and latent frames of a block."""
_SHAPES = {
    "skyreels, first block": (AttentionShape(2, 12, _BLOCK * _FRAME, _BLOCK * _FRAME, 128), torch.bfloat16),
    "skyreels, last block": (AttentionShape(2, 12, _BLOCK * _FRAME, _FRAMES * _FRAME, 128), torch.bfloat16),
    "skyreels, all see all": (AttentionShape(2, 12, _FRAMES * _FRAME, _FRAMES * _FRAME, 128), torch.bfloat16),
    "skyreels, text": (AttentionShape(2, 12, 4 * _BLOCK * _FRAME, 512, 128), torch.bfloat16),
    "svd, space, level 1": (AttentionShape(50, 5, 9216, 9216, 64), torch.float16),
    "svd, space, level 2": (AttentionShape(50, 10, 2304, 2304, 64), torch.float16),
    "svd, space, level 3": (AttentionShape(50, 20, 576, 576, 64), torch.float16),
    "svd, time, level 1": (AttentionShape(18432, 5, 25, 25, 64), torch.float16),
}


def rates(stage: Stage) -> None:
    """How fast the device multiplies large matrices: what floors are worked out from. Takes a moment."""
    size = 256 if stage.tiny else 8192
    for dtype in (torch.bfloat16, torch.float16):
        left, right = (stage.noise(size, size, dtype=dtype) for _ in range(2))
        seconds = stage.seconds(partial(torch.matmul, left, right), calls=10, warm_up=3)
        stage.notebook.note(rate_of(dtype), 2 * size**3 / seconds / 1e12, "TFLOP/s", f"{size}³")


def calibration(stage: Stage) -> None:
    """What else the device can do at best."""
    stage.attempt("copies", partial(_copies, stage))
    stage.attempt("matrices of SkyReels", partial(_matrices, stage))


def attention(stage: Stage) -> None:
    """The kernels on what the engines ask for, on the dense mask that diffusers makes, and which one is chosen."""
    for name, shape, dtype in _shapes(stage):
        for kernel in (DEFAULT, *KERNELS):
            what = f"attention, {name}, {kernel}"
            stage.attempt(what, partial(_attention, stage, what, shape, dtype, kernel))
    for kernel in (DEFAULT, *KERNELS):
        what = f"attention, skyreels, dense mask, {kernel}"
        stage.attempt(what, partial(_attention_with_mask, stage, what, kernel))
    for subject in stage.subjects.values():
        stage.attempt(f"choice for {subject.slug}", partial(choice, stage, subject))


def choice(stage: Stage, subject: Subject) -> str:
    """The kernel that a worker would choose."""
    dtype, _ = dtype_for(subject.example.version.weights_dtype, stage.device)
    chosen = choose_attention_kernel(subject.kind.attention, dtype, stage.device)
    stage.notebook.fact(f"attention kernel of {subject.slug}", chosen)
    return chosen


def _copies(stage: Stage) -> None:
    size = 2**20 if stage.tiny else 2 * GIB
    source = torch.ones(size, dtype=torch.uint8, device=stage.device)
    target = torch.empty_like(source)
    seconds = stage.seconds(partial(target.copy_, source))
    stage.notebook.note("copy on the device, read and written", 2 * size / seconds / 1e9, "GB/s")
    if stage.device.type == "cuda":
        for kind, pinned in (("pinned", True), ("pageable", False)):
            host = torch.ones(GIB, dtype=torch.uint8, pin_memory=pinned)
            seconds = stage.seconds(partial(target[:GIB].copy_, host, non_blocking=True))
            stage.notebook.note(f"copy to the device from {kind} memory", GIB / seconds / 1e9, "GB/s")


def _matrices(stage: Stage) -> None:
    shrunk = 32 if stage.tiny else 1
    for inner, outer in ((1536, 1536), (1536, 8960), (8960, 1536)):
        tokens = stage.noise(2 * _BLOCK * _FRAME // shrunk, inner // shrunk, dtype=torch.bfloat16)
        weight = stage.noise(outer // shrunk, inner // shrunk, dtype=torch.bfloat16)
        seconds = stage.seconds(partial(linear, tokens, weight), calls=10)
        rate = 2 * tokens.numel() * len(weight) / seconds
        stage.notebook.note(f"bf16 linear, {inner} to {outer} channels", rate / 1e12, "TFLOP/s")


def _shapes(stage: Stage) -> Iterator[tuple[str, AttentionShape, torch.dtype]]:
    for name, (shape, dtype) in _SHAPES.items():
        if stage.tiny:
            yield name, AttentionShape(2, 2, 1 + shape.queries // 200, 1 + shape.keys // 200, 64), torch.float32
        else:
            yield name, shape, dtype


def _attention(stage: Stage, name: str, shape: AttentionShape, dtype: torch.dtype, kernel: str) -> None:
    query, key, value = (
        # As the models have them: the heads of a token side by side.
        stage.noise(shape.batch, tokens, shape.heads, shape.head_width, dtype=dtype).transpose(1, 2)
        for tokens in (shape.queries, shape.keys, shape.keys)
    )
    flops = 4 * shape.batch * shape.heads * shape.queries * shape.keys * shape.head_width
    _note_attention(stage, name, kernel, partial(scaled_dot_product_attention, query, key, value), flops)


def _attention_with_mask(stage: Stage, name: str, kernel: str) -> None:
    frame = 4 if stage.tiny else _FRAME
    tokens = _FRAMES * frame
    query, key, value = (stage.noise(1, tokens, 12, 128, dtype=torch.bfloat16).transpose(1, 2) for _ in range(3))
    block = torch.arange(_FRAMES, device=stage.device).repeat_interleave(frame) // _BLOCK
    mask = (block[None] <= block[:, None])[None, None]
    masked = partial(scaled_dot_product_attention, query, key, value, attn_mask=mask)
    _note_attention(stage, name, kernel, masked, 4 * 12 * tokens**2 * 128, "masked pairs counted too")


def _note_attention(
    stage: Stage, name: str, kernel: str, work: Callable[[], object], flops: float, remark: str = ""
) -> None:
    with warnings.catch_warnings(), nullcontext() if kernel == DEFAULT else sdpa_kernel(KERNELS[kernel]):
        warnings.simplefilter("ignore")  # a kernel that cannot do it says why, at length
        try:
            work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            stage.notebook.fact(name, "has no such kernel")
            return
        seconds = stage.seconds(work, calls=3, warm_up=1)
    stage.notebook.note(name, flops / seconds / 1e12, "TFLOP/s", f"{seconds * 1e3:.2f} ms {remark}".rstrip())
