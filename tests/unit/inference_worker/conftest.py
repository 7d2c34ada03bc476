"""Engines on demo weights, made once, and somebody to report to and to stop them."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from services.inference_worker.adapters.engines.loader import DiffusersEngineLoader
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import RenderStopped
from services.inference_worker.domain.version import StartMoment, Version
from services.inference_worker.ports import Clip, Engine, Moment

PIPELINES = {"svd": "StableVideoDiffusionPipeline", "skyreels": "SkyReelsV2DiffusionForcingPipeline"}


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
    def load(slug: str, source: str = "demo", moments: list[StartMoment] | None = None, **changes: str) -> Engine:
        loader = DiffusersEngineLoader(source=source, weights_dir=weights_dir, device="cpu", threads=2)
        return loader.load(_version(slug, **changes), (moments if moments is not None else []).append)

    return load


@pytest.fixture(scope="session")
def svd(load: Callable[..., Engine]) -> Any:
    return load("svd")


@pytest.fixture(scope="session")
def skyreels(load: Callable[..., Engine]) -> Any:
    return load("skyreels")


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


class Listener:
    """Hears every moment; can tell the engine to stop at one of them."""

    def __init__(self, stop_at: Callable[[Moment], bool] | None = None) -> None:
        self.moments: list[Moment] = []
        self._stop_at = stop_at
        self._stopped = False

    def report(self, moment: Moment) -> None:
        self.moments.append(moment)
        self._stopped = self._stopped or bool(self._stop_at and self._stop_at(moment))

    def check(self) -> None:
        if self._stopped:
            raise RenderStopped

    @property
    def phases(self) -> list[Phase]:
        return list(dict.fromkeys(moment.phase for moment in self.moments))

    @property
    def steps(self) -> list[tuple[int, int]]:
        return [(m.done_steps, m.total_steps) for m in self.moments if m.phase is Phase.DENOISING]


@pytest.fixture(scope="session")
def listener() -> type[Listener]:
    return Listener


@pytest.fixture(scope="session")
def make() -> Callable[[Engine, Mapping[str, object]], Clip]:
    def make(engine: Engine, inputs: Mapping[str, object]) -> Clip:
        ear = Listener()
        return engine.render(inputs, ear.report, ear)

    return make
