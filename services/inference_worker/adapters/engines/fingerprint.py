"""What the bits of a video rely on besides its inputs, in words."""

import platform
import re
from importlib.metadata import version as version_of
from pathlib import Path

import torch

from services.inference_worker.domain.version import Version

_CPU_FACTS = Path("/proc/cpuinfo")
_CPU_NAME = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def fingerprint(
    version: Version, *, weights: str, dtype: torch.dtype, device: torch.device, attention: str
) -> dict[str, str]:
    """The facts by name. `weights` tells their content, `attention` the kernel chosen for it."""
    return {
        "model": f"{version.slug} {version.model_version}",
        "weights": weights,
        "number format": str(dtype).removeprefix("torch."),
        "attention": attention,
        "kernels": "eager",
        **{package: version_of(package) for package in ("forge-platform", "torch", "diffusers", "transformers")},
        **(_gpu_facts(device) if device.type == "cuda" else _cpu_facts()),
    }


def _gpu_facts(device: torch.device) -> dict[str, str]:
    return {
        "device": torch.cuda.get_device_name(device),
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
    }


def _cpu_facts() -> dict[str, str]:
    """Sums over a whole tensor are split among the threads, so their number shows in the last bits."""
    return {
        "device": f"{_cpu_name()} with {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }


def _cpu_name() -> str:
    try:
        found = _CPU_NAME.search(_CPU_FACTS.read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
