"""A platform on this machine's own fleet, whose model's example is small, and which was just installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.platforms import REPOSITORY, SKYREELS, Platform, running

EXAMPLE = {"width": 256, "height": 256, "num_frames": 37, "base_num_frames": 37, "num_inference_steps": 8}
PROBE_INPUTS = [
    {"width": 128, "height": 128, "num_inference_steps": 2},
    {"num_inference_steps": 4},
    {"width": 128, "height": 128},
]


def small_catalogue(folder: Path) -> Path:
    """The shipped configuration, but for an example that renders in about a second."""
    shutil.copytree(REPOSITORY / "config", folder)
    path = folder / "models" / f"{SKYREELS}.yaml"
    model: dict[str, Any] = yaml.safe_load(path.read_text())
    model["versions"][0]["example"].update(EXAMPLE)
    model["versions"][0]["probe_inputs"] = PROBE_INPUTS
    path.write_text(yaml.safe_dump(model, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests here, which are in the order of its life."""
    folder = tmp_path_factory.mktemp("measured")
    config = small_catalogue(folder / "config")
    with running(Platform(folder / "home", "local", {"FORGE_CONFIG_DIR": str(config)})) as subject:
        yield subject


@pytest.fixture
def rest(platform: Platform) -> Iterator[httpx.Client]:
    """An HTTP client with the platform's key."""
    with platform.client() as client:
        yield client
