"""Engines on random weights, made once, and somebody to report to and to stop them."""

import base64
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import RenderStopped
from services.inference_worker.domain.version import StartMoment, Version
from services.inference_worker.ports import Engine, Moment, Plan, Rendered
from tests.unit.inference_worker.worker_bench import Bench

PIPELINES = {
    "svd": "StableVideoDiffusionPipeline",
    "skyreels": "SkyReelsV2DiffusionForcingPipeline",
    "wan": "WanPipeline",
}


def _version(slug: str, **changes: str) -> Version:
    facts = {
        "slug": slug,
        "model_version": "v1",
        "pipeline": PIPELINES.get(slug, ""),
        "weights_repository": f"makers/{slug}-repository",
        "weights_revision": "0" * 40,
        "weights_dtype": "fp32",
    }
    return Version(**{**facts, **changes})


@pytest.fixture(scope="session")
def a_version() -> Callable[..., Version]:
    return _version


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="session")
def load(weights_dir: Path) -> Callable[..., Engine]:
    # Imported late, so that only tests of engines wait for their libraries.
    from services.inference_worker.adapters.engines.loader import DiffusersEngineLoader

    def load(slug: str, source: str = "random", moments: list[StartMoment] | None = None, **changes: str) -> Engine:
        loader = DiffusersEngineLoader(source=source, weights_dir=weights_dir, device="cpu", threads=1)
        return loader.load(_version(slug, **changes), (moments if moments is not None else []).append)

    return load


@pytest.fixture(scope="session")
def svd(load: Callable[..., Engine]) -> Any:
    return load("svd")


@pytest.fixture(scope="session")
def skyreels(load: Callable[..., Engine]) -> Any:
    return load("skyreels")


@pytest.fixture(scope="session")
def wan(load: Callable[..., Engine]) -> Any:
    return load("wan")


def _data_uri(picture: Image.Image, file_format: str = "PNG") -> str:
    file = io.BytesIO()
    picture.save(file, file_format)
    media_type = {"PPM": "x-portable-pixmap"}.get(file_format, file_format.lower())
    return f"data:image/{media_type};base64," + base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="session")
def data_uri() -> Callable[..., str]:
    return _data_uri


@pytest.fixture(scope="session")
def svd_inputs() -> Callable[..., dict[str, object]]:
    def inputs(**changes: object) -> dict[str, object]:
        gradient = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
        return {
            "image": _data_uri(gradient),
            "width": 64,
            "height": 64,
            "num_frames": 4,
            "num_inference_steps": 3,
            "guidance_scale": 3.0,
            "seed": 17,
            "fps": 7,
            "decode_chunk_size": 2,
            **changes,
        }

    return inputs


@pytest.fixture(scope="session")
def skyreels_inputs() -> Callable[..., dict[str, object]]:
    def inputs(**changes: object) -> dict[str, object]:
        return {
            "prompt": "a cat",
            "negative_prompt": "blurry",
            "width": 64,
            "height": 64,
            "num_frames": 13,
            "num_inference_steps": 4,
            "guidance_scale": 6.0,
            "seed": 77,
            "fps": 24,
            **changes,
        }

    return inputs


@pytest.fixture(scope="session")
def wan_inputs() -> Callable[..., dict[str, object]]:
    def inputs(**changes: object) -> dict[str, object]:
        return {
            "prompt": "a cat",
            "negative_prompt": "blurry",
            "width": 64,
            "height": 64,
            "num_frames": 13,
            "num_inference_steps": 4,
            "guidance_scale": 5.0,
            "seed": 21,
            "fps": 16,
            **changes,
        }

    return inputs


class Ear:
    """A Listener that remembers everything; can tell the engine to stop at a moment, and take its checkpoints."""

    def __init__(self, stop_at: Callable[[Moment], bool] | None = None) -> None:
        self.moments: list[Moment] = []
        self.shown: list[NDArray[np.uint8]] = []
        self.checkpoints: dict[int, bytes] = {}
        """By the number of steps that were done."""
        self.takes_checkpoints = False
        self._stop_at = stop_at
        self._stopped = False

    def report(self, moment: Moment) -> None:
        self.moments.append(moment)
        if self.takes_checkpoints and moment.checkpoint:
            self.checkpoints[moment.done_steps] = moment.checkpoint()
        self._stopped = self._stopped or bool(self._stop_at and self._stop_at(moment))

    def show(self, frames: NDArray[np.uint8]) -> None:
        self.shown.append(frames)

    def check(self) -> None:
        if self._stopped:
            raise RenderStopped

    @property
    def frames(self) -> NDArray[np.uint8]:
        return np.concatenate(self.shown)

    @property
    def phases(self) -> list[Phase]:
        return list(dict.fromkeys(moment.phase for moment in self.moments))

    @property
    def steps(self) -> list[tuple[int, int]]:
        """Each number of done steps once, and how many there are in all."""
        denoising = [(m.done_steps, m.total_steps) for m in self.moments if m.phase is Phase.DENOISING]
        return list(dict.fromkeys(denoising))


@pytest.fixture(scope="session")
def listener() -> type[Ear]:
    return Ear


@dataclass(frozen=True)
class Made:
    """A video, and what its engine said of it."""

    frames: NDArray[np.uint8]
    plan: Plan
    rendered: Rendered


@pytest.fixture(scope="session")
def make() -> Callable[[Engine, Mapping[str, object]], Made]:
    def make(engine: Engine, inputs: Mapping[str, object]) -> Made:
        ear = Ear()
        plan = engine.plan(inputs)
        rendered = engine.render(inputs, ear)
        return Made(ear.frames, plan, rendered)

    return make


@pytest.fixture
async def a_bench() -> AsyncIterator[Callable[..., Bench]]:
    """Makes workers with a scripted engine; what they are at ends with the test."""
    async with AsyncExitStack() as stack:

        def make(*args: Any, **settings: Any) -> Bench:
            bench = Bench(*args, **settings)
            stack.push_async_callback(bench.close)
            return bench

        yield make


@pytest.fixture
async def bench(a_bench: Callable[..., Bench]) -> Bench:
    """One that has loaded."""
    bench = a_bench()
    await bench.load(_version("svd"))
    return bench
