"""Engines from weights: found, vetted, loaded, given the fastest kernels of the device, and tried once."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.inference_worker.adapters.engines.compiling import CompilingEngine, prepare_compiler
from services.inference_worker.adapters.engines.device import device_errors, dtype_for, prepare_process
from services.inference_worker.adapters.engines.fingerprint import fingerprint
from services.inference_worker.adapters.engines.kernels import AttentionShape, choose_attention_kernel
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.remarking import RemarkingEngine
from services.inference_worker.adapters.engines.skyreels.engine import SkyReelsEngine
from services.inference_worker.adapters.engines.sources import source_for
from services.inference_worker.adapters.engines.stable_video.engine import StableVideoDiffusionEngine
from services.inference_worker.adapters.engines.wan import WanEngine
from services.inference_worker.adapters.engines.weights import Loaded, WeightsFolder
from services.inference_worker.domain.errors import OutOfMemory, WeightsUnavailable
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Engine, Moment

_REPORT_SECONDS = 0.2
"""The least time between two reports about the same part of the weights."""


@dataclass(frozen=True)
class Kind:
    """How to run a pipeline: its engine, the smallest request, and the attention that takes most of its time."""

    engine: Callable[[Any, torch.device, Mapping[str, str]], Any]
    """Makes an Engine of a pipeline, its device and its fingerprint."""
    smallest: Mapping[str, object]
    attention: AttentionShape


_GREY_PIXEL = "data:image/x-portable-pixmap;base64,UDYKMSAxCjI1NQqAgIA="

KINDS = {
    "StableVideoDiffusionPipeline": Kind(
        StableVideoDiffusionEngine,
        {
            "image": _GREY_PIXEL,
            "width": 64,
            "height": 64,
            "num_frames": 2,
            "num_inference_steps": 1,
            "guidance_scale": 2,
            "decode_chunk_size": 2,
        },
        AttentionShape(batch=4, heads=5, queries=9216, keys=9216, head_width=64),
    ),
    "SkyReelsV2DiffusionForcingPipeline": Kind(
        SkyReelsEngine,
        {"prompt": "", "width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 1, "guidance_scale": 2},
        AttentionShape(batch=1, heads=12, queries=10200, keys=20400, head_width=128),
    ),
    "WanPipeline": Kind(
        WanEngine,
        {"prompt": "", "width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 1, "guidance_scale": 2},
        AttentionShape(batch=1, heads=12, queries=16384, keys=16384, head_width=128),
    ),
}


def import_pipelines() -> None:
    """Import all that a load would: diffusers and transformers fetch most of themselves when it is asked for."""
    for pipeline in KINDS:
        getattr(diffusers, pipeline)


class DiffusersEngineLoader:
    """Loads the pipelines of diffusers that there is an engine for.

    With a `compile_cache` engines compile their kernels, and keep them in this directory.
    """

    def __init__(
        self,
        *,
        source: str,
        weights_dir: Path,
        device: str,
        threads: int,
        compile_cache: Path | None = None,
        kinds: Mapping[str, Kind] = KINDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source_for(source, weights_dir)
        self._device = torch.device(device)
        self._threads = threads
        self._compile_cache = compile_cache
        self._kinds = kinds
        self._monotonic = monotonic

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version, ready to render. Raises WeightsUnavailable, OutOfMemory."""
        prepare_process(self._threads)
        kind = self._kinds.get(version.pipeline)
        if kind is None:
            raise WeightsUnavailable(f"no engine of this worker runs a {version.pipeline}")
        try:
            dtype, note = dtype_for(version.weights_dtype, self._device)
        except KeyError:
            raise WeightsUnavailable(f"'{version.weights_dtype}' is no number format of weights here") from None
        found = self._source.locate(version, report)
        with device_errors(self._device):
            folder = WeightsFolder(found.folder, version.pipeline)
            loaded = self._load_weights(folder, dtype, note, report, with_digest=found.identity is None)
            attention = choose_attention_kernel(kind.attention, dtype, self._device)
            facts = fingerprint(
                version,
                weights=found.identity or f"digest {loaded.digest}",
                dtype=dtype,
                device=self._device,
                attention=attention,
            )
            engine = kind.engine(loaded.pipeline, self._device, facts)
            report(StartMoment(StartPhase.WARM_UP, f"making the smallest video; attention kernel: {attention}"))
            _try_once(engine, kind.smallest)
        if self._compile_cache is not None:
            prepare_compiler(self._compile_cache / _digest(facts))
            engine = CompilingEngine(engine, facts)
        return engine if found.remarks is None else RemarkingEngine(engine, found.remarks)

    def _load_weights(
        self,
        folder: WeightsFolder,
        dtype: torch.dtype,
        note: str | None,
        report: Callable[[StartMoment], None],
        *,
        with_digest: bool,
    ) -> Loaded:
        total_bytes = folder.total_bytes(dtype)
        told_part, told_at = "", 0.0

        def on_progress(part: str, done_bytes: int) -> None:
            nonlocal told_part, told_at
            now = self._monotonic()
            if part == told_part and now < told_at + _REPORT_SECONDS:
                return
            told_part, told_at = part, now
            message = f"loading {part}" + (f" ({note})" if note else "")
            report(StartMoment(StartPhase.WEIGHTS, message, done_bytes, total_bytes))

        return folder.load(dtype, self._device, on_progress, with_digest=with_digest)


def _digest(facts: Mapping[str, str]) -> str:
    """A name for a directory: kernels compiled under other facts may compute otherwise."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:16]


def _try_once(engine: Engine, smallest: Mapping[str, object]) -> None:
    """Find broken weights now rather than in the first render, which is then also spared what happens only once."""
    try:
        engine.render(smallest, _Nobody())
    except OutOfMemory:
        raise
    except Exception as error:
        raise WeightsUnavailable("the weights loaded, but do not make a video") from error


class _Nobody:
    """Follows the trial."""

    def report(self, moment: Moment) -> None:
        """Nobody hears it."""

    def show(self, frames: object) -> None:
        """Nobody sees them."""

    def check(self) -> None:
        """Nobody stops it."""
