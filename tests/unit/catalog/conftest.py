"""Models to test with: the shipped ones, and files to break."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.catalog.adapters.yaml_models import load_models
from services.catalog.domain import Model, RouteTarget
from services.chassis.config import REPOSITORY

SHIPPED = REPOSITORY / "config" / "models"


class ListedFleet:
    """A fleet of listed targets."""

    def __init__(self, *names: str) -> None:
        self._targets = tuple(
            RouteTarget(*name.split("@"), simulated=True, total_slots=1, free_slots=1) for name in names
        )

    async def targets(self) -> tuple[RouteTarget, ...]:
        return self._targets


@pytest.fixture(scope="session")
def shipped_models() -> tuple[Model, ...]:
    return load_models(SHIPPED)


@pytest.fixture
def fleet_of() -> type[ListedFleet]:
    return ListedFleet


@pytest.fixture
def broken_model(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A directory with one shipped model, changed by the given function."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        content = yaml.safe_load((SHIPPED / "skywork-skyreels-v2.yaml").read_text())
        change(content)
        (tmp_path / "skywork-skyreels-v2.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path

    return make
