"""The device: what is set on it once, and how its errors are called here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.domain.errors import EngineFailed, OutOfMemory

_DTYPES = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "fp16": torch.float16,
    "float16": torch.float16,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}


def prepare_process(threads: int) -> None:
    """Set what torch and its libraries keep for the whole process."""
    torch.set_num_threads(threads)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def dtype_for(weights_dtype: str, device: torch.device) -> tuple[torch.dtype, str | None]:
    """The number format to load weights in, and a warning when it is not the given one. KeyError for one unknown."""
    given = _DTYPES[weights_dtype.lower()]
    if device.type == "cpu" and given is not torch.float32:
        return torch.float32, f"the CPU computes in fp32, not in {weights_dtype.lower()}"
    return given, None


def finish(device: torch.device) -> None:
    """Return when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Call a device's lack of memory OutOfMemory, whatever it is raised as."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        _release(device)
        raise OutOfMemory from error
    except RuntimeError as error:
        if not _says_out_of_memory(error):
            raise
        _release(device)
        raise OutOfMemory from error


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """Leave out the warnings that diffusers causes and nobody here can mend."""
    with warnings.catch_warnings():
        # Its Euler scheduler gives tensors to numpy in the way of numpy 1.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        yield


def refuse_degenerate(latents: torch.Tensor) -> None:
    """Raise EngineFailed for latents with NaN or infinity, which would decode to black frames."""
    if not torch.isfinite(latents).all():
        raise EngineFailed("the model produced numbers that are not finite")


def to_uint8(frames: torch.Tensor) -> torch.Tensor:
    """Frames in -1…1 as 0…255, rounded to the nearest, on their device."""
    return frames.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def _says_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
