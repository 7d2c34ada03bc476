"""A checkpoint on disk: what must not be in it, what is in it, and its parts loaded one by one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.domain.errors import WeightsUnavailable

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
_CODE_SUFFIXES = {
    ".bin",
    ".ckpt",
    ".h5",
    ".joblib",
    ".msgpack",
    ".npy",
    ".npz",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".py",
    ".so",
}
_CODE_KEYS = {"auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code"}
# The VAE of SkyReels shows bands in half precision; its makers run it in fp32.
_ALWAYS_FP32 = {"AutoencoderKLWan"}


@dataclass(frozen=True)
class Component:
    """A part of a pipeline: a class of a known library, and the folder it is stored in."""

    name: str
    library: str
    class_name: str
    folder: Path

    def variant(self, dtype: torch.dtype) -> str | None:
        """Repositories may keep a half-precision copy beside the full one; take it when that is what is wanted."""
        return "fp16" if dtype is torch.float16 and any(self.folder.glob("*.fp16*.safetensors")) else None

    def weights_bytes(self, dtype: torch.dtype) -> int:
        """Size of the weights that are read for `dtype`; 0 for a part without any."""
        halves = set(self.folder.glob("*.fp16*.safetensors"))
        files = halves if self.variant(dtype) else set(self.folder.glob("*.safetensors")) - halves
        return sum(file.stat().st_size for file in files)


class Checkpoint:
    """A folder as `save_pretrained` leaves it, vetted: it can only hold data, and only the expected pipeline.

    Messages name files relative to the folder and never the folder itself.
    """

    def __init__(self, folder: Path, pipeline: str) -> None:
        self._folder = folder
        self._pipeline = pipeline
        _refuse_code(folder)
        self._components = list(_read_components(folder, pipeline))

    def total_bytes(self, dtype: torch.dtype) -> int:
        """Size of all the weights that will be loaded."""
        return sum(component.weights_bytes(dtype) for component in self._components)

    def load(self, dtype: torch.dtype, device: torch.device, on_progress: Callable[[str, int], None]) -> Any:
        """The pipeline on its device; tells the name of each part and the bytes loaded before it."""
        parts: dict[str, Any] = {}
        done_bytes = 0
        for component in self._components:
            on_progress(component.name, done_bytes)
            parts[component.name] = self._load_component(component, dtype, device)
            done_bytes += component.weights_bytes(dtype)
        on_progress("pipeline", done_bytes)
        try:
            pipeline = getattr(diffusers, self._pipeline)(**parts)
        except Exception as error:
            raise WeightsUnavailable(f"the weights do not make a {self._pipeline}") from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _load_component(self, component: Component, dtype: torch.dtype, device: torch.device) -> Any:
        found: Any = getattr(_LIBRARIES[component.library], component.class_name)
        try:
            if component.weights_bytes(dtype) == 0:
                return found.from_pretrained(component.folder, local_files_only=True)
            dtype = torch.float32 if component.class_name in _ALWAYS_FP32 else dtype
            model = found.from_pretrained(
                component.folder,
                local_files_only=True,
                use_safetensors=True,
                variant=component.variant(dtype),
                **{"torch_dtype" if component.library == "diffusers" else "dtype": dtype},
            )
            return model.to(device).eval()
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise WeightsUnavailable(f"the part '{component.name}' of the weights cannot be loaded") from error


def _refuse_code(folder: Path) -> None:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() in _CODE_SUFFIXES:
            raise WeightsUnavailable(f"the weights hold '{name}', which can run code; only safetensors are loaded")
        if file.suffix.lower() == ".json" and file.is_file() and (key := _key_for_code(_parsed(file, name))):
            raise WeightsUnavailable(f"'{name}' of the weights asks for code of its own by '{key}'; that is not run")


def _read_components(folder: Path, pipeline: str) -> Iterator[Component]:
    index_file = folder / "model_index.json"
    index = _parsed(index_file, index_file.name) if index_file.is_file() else None
    if not isinstance(index, dict):
        raise WeightsUnavailable("the weights have no model_index.json")
    if index.get("_class_name") != pipeline:
        raise WeightsUnavailable(f"the weights are not those of a {pipeline}")
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[:1] == [None]:
            continue
        library, class_name = (*entry, None, None)[:2]
        if library not in _LIBRARIES or not isinstance(class_name, str) or not _is_class(library, class_name):
            raise WeightsUnavailable(f"the part '{name}' of the weights is of no class of diffusers or transformers")
        if Path(name).name != name or not (folder / name).is_dir():
            raise WeightsUnavailable(f"the weights lack the part '{name}'")
        yield Component(name, library, class_name, folder / name)


def _is_class(library: str, class_name: str) -> bool:
    return isinstance(getattr(_LIBRARIES[library], class_name, None), type)


def _parsed(file: Path, name: str) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        raise WeightsUnavailable(f"'{name}' of the weights is not valid JSON") from None


def _key_for_code(config: Any) -> str | None:
    """A key, at any depth, by which a configuration asks for code that comes with it."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if asked := _CODE_KEYS.intersection(key for key, value in found.items() if value):
                return min(asked)
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return None
