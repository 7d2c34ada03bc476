"""The platforms for the quick cut of the faults."""

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, ground
from tests.faults.settings import ON_POSTGRESQL, QUICK


@pytest.fixture(scope="session")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform."""
    with ground(QUICK, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject


@pytest.fixture(scope="session")
def at_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform with its tables in PostgreSQL."""
    with ground(ON_POSTGRESQL, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject
