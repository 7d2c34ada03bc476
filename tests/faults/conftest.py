"""Platforms for the quick cut of the faults: one of each kind, kept for as long as its faults follow each other."""

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, ground


@pytest.fixture(scope="session")
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform of the kind that is asked for."""
    with ground(request.param, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject
