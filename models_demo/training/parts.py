"""The trained parts as they are kept in `weights/`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def keep(model: Any, folder: Path) -> None:
    """Write a part's weights in half precision, which the videos do not show."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
