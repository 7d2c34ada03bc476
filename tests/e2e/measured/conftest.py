"""A platform on this machine's own fleet, whose model's example is small, and which was just installed."""

from collections.abc import Iterator

import httpx
import pytest

from tests import small_examples
from tests.platforms import SKYREELS, Platform, running

EXAMPLE = {"width": 256, "height": 256, "num_frames": 37, "base_num_frames": 37, "num_inference_steps": 8}
PROBE_INPUTS = [
    {"width": 128, "height": 128, "num_inference_steps": 2},
    {"num_inference_steps": 4},
    {"width": 128, "height": 128},
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests here, which are in the order of its life."""
    folder = tmp_path_factory.mktemp("measured")
    config = small_examples.write(folder / "config", {SKYREELS: EXAMPLE}, PROBE_INPUTS)
    with running(Platform(folder / "home", "local", {"FORGE_CONFIG_DIR": str(config)})) as subject:
        yield subject


@pytest.fixture
def rest(platform: Platform) -> Iterator[httpx.Client]:
    """An HTTP client with the platform's key."""
    with platform.client() as client:
        yield client
