"""A folder of weights: what is in it, and its parts made into a pipeline."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.read_ahead import ReadAhead, reading_ahead
from services.inference_worker.adapters.engines.vetting import is_known_class, parsed, vet
from services.inference_worker.domain.errors import WeightsUnavailable

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
# The VAE of SkyReels shows bands in half precision; its makers run it in fp32.
_ALWAYS_FP32 = {"AutoencoderKLWan"}
_INDEX = "model_index.json"


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

    def weights_files(self, dtype: torch.dtype) -> list[Path]:
        """The files that are read for `dtype`, in order; none for a part without weights."""
        halves = set(self.folder.glob("*.fp16*.safetensors"))
        return sorted(halves if self.variant(dtype) else set(self.folder.glob("*.safetensors")) - halves)

    def other_files(self) -> list[Path]:
        """Its configuration, vocabulary and the like, in order."""
        return sorted(file for file in self.folder.rglob("*") if file.is_file() and file.suffix != ".safetensors")


@dataclass(frozen=True)
class Loaded:
    """A pipeline on its device."""

    pipeline: Any
    digest: str | None
    """What only weights of the same content have; None when nobody asked for it."""


class WeightsFolder:
    """A folder as `save_pretrained` leaves it, vetted: it can only hold data, and only the expected pipeline.

    Messages name files relative to the folder and never the folder itself.
    """

    def __init__(self, folder: Path, pipeline: str) -> None:
        self._folder = folder
        self._pipeline = pipeline
        vet(folder)
        self._components = list(_read_components(folder, pipeline))

    def total_bytes(self, dtype: torch.dtype) -> int:
        """Size of all the weights that will be loaded."""
        files = (file for component in self._components for file in component.weights_files(dtype))
        return sum(file.stat().st_size for file in files)

    def load(
        self,
        dtype: torch.dtype,
        device: torch.device,
        on_progress: Callable[[str, int], None],
        *,
        with_digest: bool = False,
    ) -> Loaded:
        """The pipeline. All its files are read at once, its parts made one after the other, each when it is in memory.

        Tells which part is being loaded, and how many bytes have arrived of it and of those before it.
        """
        parts: dict[str, Any] = {}
        done_bytes = 0
        files = [file for component in self._components for file in component.weights_files(dtype)]
        with reading_ahead(files, with_digests=with_digest) as ahead:
            for component in self._components:
                on_progress(component.name, done_bytes)
                with _as_unavailable(component):
                    for file in component.weights_files(dtype):
                        for arrived_bytes in ahead.arrivals(file):
                            done_bytes += arrived_bytes
                            on_progress(component.name, done_bytes)
                    parts[component.name] = _load_component(component, dtype, device)
            digest = self._digest(ahead, dtype) if with_digest else None
        on_progress("pipeline", done_bytes)
        try:
            pipeline = getattr(diffusers, self._pipeline)(**parts)
        except Exception as error:
            raise WeightsUnavailable(f"the weights do not make a {self._pipeline}") from error
        pipeline.set_progress_bar_config(disable=True)
        return Loaded(pipeline, digest)

    def _digest(self, ahead: ReadAhead, dtype: torch.dtype) -> str:
        """Of all that a pipeline is made of, by name; where the folder is and when it was written do not matter."""
        whole = hashlib.sha256((self._folder / _INDEX).read_bytes())
        for component in self._components:
            for file in component.other_files():
                whole.update(f"{file.relative_to(self._folder).as_posix()}\n".encode())
                whole.update(hashlib.sha256(file.read_bytes()).digest())
            for file in component.weights_files(dtype):
                whole.update(f"{file.relative_to(self._folder).as_posix()}\n".encode())
                whole.update(ahead.digest(file))
        return whole.hexdigest()


def _load_component(component: Component, dtype: torch.dtype, device: torch.device) -> Any:
    found: Any = getattr(_LIBRARIES[component.library], component.class_name)
    if not component.weights_files(dtype):
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


@contextmanager
def _as_unavailable(component: Component) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise WeightsUnavailable(f"the part '{component.name}' of the weights cannot be loaded") from error


def _read_components(folder: Path, pipeline: str) -> Iterator[Component]:
    index_file = folder / _INDEX
    index = parsed(index_file, index_file.name) if index_file.is_file() else None
    if not isinstance(index, dict):
        raise WeightsUnavailable(f"the weights have no {_INDEX}")
    if index.get("_class_name") != pipeline:
        raise WeightsUnavailable(f"the weights are not those of a {pipeline}")
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[:1] == [None]:
            continue
        library, class_name = map(str, (*entry, "", "")[:2])
        if not is_known_class(library, class_name):
            raise WeightsUnavailable(f"the part '{name}' of the weights is of no class that an engine here is made of")
        if Path(name).name != name or not (folder / name).is_dir():
            raise WeightsUnavailable(f"the weights lack the part '{name}'")
        yield Component(name, library, class_name, folder / name)
