"""The platforms for the quick cut of the faults."""

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, ground
from tests.faults.settings import ON_CLUSTER, ON_SERVERS, QUICK


@pytest.fixture(scope="session")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform."""
    with ground(QUICK, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject


@pytest.fixture(scope="session")
def at_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform with tables and objects on servers."""
    with ground(ON_SERVERS, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject


@pytest.fixture(scope="session")
def at_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform with its workers on a Ray cluster."""
    with ground(ON_CLUSTER, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject
