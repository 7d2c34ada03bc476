"""Engines from weights: found, vetted, loaded part by part, moved to the device and tried once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.inference_worker.adapters.engines.checkpoint import Checkpoint
from services.inference_worker.adapters.engines.device import arrange_for_cpu, device_errors, dtype_for, prepare_process
from services.inference_worker.adapters.engines.skyreels import SkyReelsEngine
from services.inference_worker.adapters.engines.sources import source_for
from services.inference_worker.adapters.engines.stable_video_diffusion import StableVideoDiffusionEngine
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import OutOfMemory, WeightsUnavailable
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Engine, Moment


@dataclass(frozen=True)
class Kind:
    """How to run a pipeline: its engine, the smallest request, and how its work divides on a GPU and on the CPU."""

    engine: Callable[[Any, torch.device, Mapping[Phase, float]], Engine]
    smallest: Mapping[str, object]
    shares: Mapping[str, Mapping[Phase, float]]


def _shares(encoding: float, denoising: float, decoding: float, muxing: float, storing: float) -> Mapping[Phase, float]:
    return {
        Phase.ENCODING: encoding,
        Phase.DENOISING: denoising,
        Phase.DECODING: decoding,
        Phase.MUXING: muxing,
        Phase.STORING: storing,
    }


_GREY_PIXEL = "data:image/x-portable-pixmap;base64,UDYKMSAxCjI1NQqAgIA="

# The CPU's shares were measured with the demo weights on the example requests, the GPU's guessed from the arithmetic.
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
        {"cpu": _shares(1, 27, 71, 1, 0.1), "cuda": _shares(2, 80, 15, 3, 0.1)},
    ),
    "SkyReelsV2DiffusionForcingPipeline": Kind(
        SkyReelsEngine,
        {"prompt": "", "width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 1, "guidance_scale": 2},
        {"cpu": _shares(0.2, 40, 56, 4, 0.1), "cuda": _shares(0.5, 92, 6, 1.5, 0.1)},
    ),
}


class DiffusersEngineLoader:
    """Loads the pipelines of diffusers that there is an engine for."""

    def __init__(self, *, source: str, weights_dir: Path, device: str, threads: int) -> None:
        self._source = source_for(source, weights_dir)
        self._device = torch.device(device)
        self._threads = threads

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version, ready to render. Raises WeightsUnavailable, OutOfMemory."""
        prepare_process(self._threads)
        kind = KINDS.get(version.pipeline)
        if kind is None:
            raise WeightsUnavailable(f"no engine of this worker runs a {version.pipeline}")
        try:
            dtype, note = dtype_for(version.weights_dtype, self._device)
        except KeyError:
            raise WeightsUnavailable(f"'{version.weights_dtype}' is no number format of weights here") from None
        with device_errors(self._device):
            pipeline = self._load_pipeline(version, dtype, note, report)
            if self._device.type == "cpu":
                arrange_for_cpu(pipeline.vae)
            engine = kind.engine(pipeline, self._device, kind.shares.get(self._device.type, kind.shares["cuda"]))
            report(StartMoment(StartPhase.WARM_UP, "making the smallest video"))
            _try_once(engine, kind.smallest)
        return engine

    def _load_pipeline(
        self, version: Version, dtype: torch.dtype, note: str | None, report: Callable[[StartMoment], None]
    ) -> Any:
        checkpoint = Checkpoint(self._source.locate(version, report), version.pipeline)
        total_bytes = checkpoint.total_bytes(dtype)

        def on_progress(part: str, done_bytes: int) -> None:
            message = f"loading {part}" + (f" ({note})" if note else "")
            report(StartMoment(StartPhase.WEIGHTS, message, done_bytes, total_bytes))

        return checkpoint.load(dtype, self._device, on_progress)


def _try_once(engine: Engine, smallest: Mapping[str, object]) -> None:
    """Find broken weights now rather than in the first render, which is then also spared what happens only once."""
    try:
        engine.render(smallest, _unheard, _NeverStop())
    except OutOfMemory:
        raise
    except Exception as error:
        raise WeightsUnavailable("the weights loaded, but do not make a video") from error


def _unheard(_moment: Moment) -> None:
    """Nobody follows the trial."""


class _NeverStop:
    def check(self) -> None:
        """Nobody stops the trial."""
