"""Which kernel computes attention: the fastest that agrees with torch's own choice, tried out on the device itself."""

import statistics
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import structlog
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

log = structlog.get_logger()

DEFAULT = "default"
"""Torch chooses for each call; the only choice on the CPU."""
KERNELS: Mapping[str, SDPBackend] = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}

WORTH_IT = 0.9
"""A kernel must take at most this much of another's time to be preferred, so that noise does not change the choice."""
_TOLERANCE = 0.02
_TIMED_CALLS = 5


@dataclass(frozen=True)
class AttentionShape:
    """The attention that takes most of a model's time."""

    batch: int
    heads: int
    queries: int
    keys: int
    head_width: int


@dataclass(frozen=True)
class Trial:
    """What a kernel made of the shape, and how long it took."""

    milliseconds: float
    result: torch.Tensor


Probe = Callable[[str], Trial]
"""Tries a kernel by its name. Raises RuntimeError for one that the device or the number format does not have."""


def choose_attention_kernel(shape: AttentionShape, dtype: torch.dtype, device: torch.device) -> str:
    """The name of the kernel to use. Takes some tens of milliseconds on a GPU, and none on the CPU."""
    if device.type != "cuda":
        return DEFAULT
    return fastest(_probe_on(device, shape, dtype))


def fastest(probe: Probe) -> str:
    """The fastest kernel whose result agrees with that of torch's own choice."""
    standard = probe(DEFAULT)
    milliseconds = {DEFAULT: standard.milliseconds}
    best = DEFAULT
    for kernel in KERNELS:
        try:
            trial = probe(kernel)
        except RuntimeError:
            continue
        if not _agree(trial.result, standard.result):
            log.warning("attention kernel left out: its results differ", kernel=kernel)
            continue
        milliseconds[kernel] = trial.milliseconds
        if trial.milliseconds <= WORTH_IT * milliseconds[best]:
            best = kernel
    log.info(
        "attention kernel chosen",
        kernel=best,
        milliseconds={name: round(took, 3) for name, took in milliseconds.items()},
    )
    return best


def attention_kernel(kernel: str) -> AbstractContextManager[object]:
    """While the block runs, `scaled_dot_product_attention` uses this kernel wherever it can. KeyError for one unknown.

    Calls it cannot serve, such as those with a mask, go to the first of the others that can.
    """
    if kernel == DEFAULT:
        return nullcontext()
    wanted = KERNELS[kernel]
    others = [other for other in (*KERNELS.values(), SDPBackend.MATH) if other is not wanted]
    return sdpa_kernel([wanted, *others], set_priority=True)


def _agree(result: torch.Tensor, standard: torch.Tensor) -> bool:
    """Whether they differ by no more than rounding in half precision does; what is not finite never agrees."""
    difference = (result.float() - standard.float()).norm()
    return bool(difference <= _TOLERANCE * standard.float().norm())


def _probe_on(device: torch.device, shape: AttentionShape, dtype: torch.dtype) -> Probe:
    generator = torch.Generator(device).manual_seed(0)

    def noise(length: int) -> torch.Tensor:
        size = (shape.batch, shape.heads, length, shape.head_width)
        return torch.randn(size, generator=generator, device=device, dtype=dtype)

    query, key, value = noise(shape.queries), noise(shape.keys), noise(shape.keys)

    def probe(kernel: str) -> Trial:
        only = nullcontext() if kernel == DEFAULT else sdpa_kernel(KERNELS[kernel])
        with only, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel that cannot serve the call says why, at length
            result = scaled_dot_product_attention(query, key, value)
            took = [_milliseconds(lambda: scaled_dot_product_attention(query, key, value)) for _ in range(_TIMED_CALLS)]
        return Trial(statistics.median(took), result)

    return probe


def _milliseconds(work: Callable[[], object]) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)
