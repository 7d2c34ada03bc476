"""What is measured: the two models with the pages' requests, or small ones that run anywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bench.examples import Example, examples
from bench.gpu.full_size import skyreels, stable_video
from bench.gpu.notebook import SKYREELS, SVD
from services.inference_worker.adapters.engines.compiling import CompilingEngine, Region, compile_whole
from services.inference_worker.adapters.engines.kernels import DEFAULT
from services.inference_worker.adapters.engines.loader import KINDS, Kind
from services.inference_worker.adapters.engines.random_weights.skyreels import build_skyreels
from services.inference_worker.adapters.engines.random_weights.stable_video import build_stable_video

_TINY: Mapping[str, Mapping[str, object]] = {
    SVD: {"width": 128, "height": 128, "num_frames": 4, "num_inference_steps": 3, "decode_chunk_size": 2},
    SKYREELS: {
        "width": 64,
        "height": 64,
        "num_frames": 37,
        "base_num_frames": 37,
        "num_inference_steps": 4,
        "ar_step": 2,
    },
}
# Few steps, but as many blocks under way at a time as in the pages' requests: the peaks are those of whole renders. The
# prompt is another one, since an engine remembers those it has read.
_FEW_STEPS: Mapping[str, Mapping[str, object]] = {
    SVD: {"num_inference_steps": 3},
    SKYREELS: {"num_inference_steps": 4, "ar_step": 1, "prompt": "a lighthouse", "negative_prompt": ""},
}
_SMALLER: Mapping[str, Mapping[str, object]] = {
    SVD: {"width": 576, "height": 320, "num_frames": 14},
    SKYREELS: {"width": 480, "height": 272, "num_frames": 57, "base_num_frames": 57},
}
_TINY_SMALLER: Mapping[str, Mapping[str, object]] = {
    SVD: {"num_frames": 2},
    SKYREELS: {"num_frames": 17, "base_num_frames": 17},
}


@dataclass(frozen=True)
class Subject:
    """A model, how its pipeline is made, and requests for it."""

    example: Example
    make: Callable[[torch.device], Any]
    """Makes the pipeline, with random weights, on a device."""
    inputs: Mapping[str, Any]
    """The page's request."""
    few_steps: Mapping[str, Any]
    """A request of the same size and with the same peak of memory."""
    smaller: Mapping[str, Any]
    """Such a request of another size."""
    compiled: Callable[[Region], Region]
    """How parts of the engine are compiled."""

    @property
    def slug(self) -> str:
        """The model's."""
        return self.example.version.slug

    @property
    def kind(self) -> Kind:
        """How the worker runs it."""
        return KINDS[self.example.version.pipeline]

    def engine(self, pipeline: Any, device: torch.device, *, attention: str = DEFAULT) -> Any:
        """Our engine of a pipeline, on which there may have been one before."""
        pipeline.to(device)  # an engine takes away from the device what it does not need
        return self.kind.engine(pipeline, device, self._facts(attention))

    def compiling_engine(self, pipeline: Any, device: torch.device, *, attention: str) -> CompilingEngine:
        """The same, compiled from its second video on."""
        pipeline.to(device)
        facts = self._facts(attention)
        return CompilingEngine(self.kind.engine(pipeline, device, facts), facts, self.compiled)

    def _facts(self, attention: str) -> dict[str, str]:
        return {"model": self.slug, "weights": "random", "attention": attention, "kernels": "eager"}


def full_size_subjects(*, thin_text_encoder: bool = False) -> dict[str, Subject]:
    """The catalogue's models, by slug."""
    makers = {SVD: stable_video, SKYREELS: lambda device: skyreels(device, thin_text_encoder=thin_text_encoder)}
    return {slug: _subject(slug, make, {}, _SMALLER[slug], compile_whole) for slug, make in makers.items()}


def tiny_subjects() -> dict[str, Subject]:
    """Small models of the same classes, by slug. Their parts are traced, but not compiled."""

    def without_bars(pipeline: Any, device: torch.device) -> Any:
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(device)

    def traced(region: Region) -> Region:
        return torch.compile(region, fullgraph=True, dynamic=False, backend="eager")

    builders = {SVD: build_stable_video, SKYREELS: build_skyreels}
    return {
        slug: _subject(
            slug,
            lambda device, build=build: without_bars(build(torch.Generator().manual_seed(1)), device),
            _TINY[slug],
            _TINY_SMALLER[slug],
            traced,
        )
        for slug, build in builders.items()
    }


def _subject(
    slug: str,
    make: Callable[[torch.device], Any],
    changes: Mapping[str, object],
    smaller: Mapping[str, object],
    compiled: Callable[[Region], Region],
) -> Subject:
    (example,) = examples(slug)
    inputs = {**example.inputs, **changes}
    few_steps = {**inputs, **_FEW_STEPS[slug]}
    return Subject(example, make, inputs, few_steps, {**few_steps, **smaller}, compiled)
