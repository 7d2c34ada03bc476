"""The platform for the quick cut of the faults: one for all of them."""

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, ground
from tests.faults.settings import QUICK


@pytest.fixture(scope="session")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running platform."""
    with ground(QUICK, tmp_path_factory.mktemp("faults"), is_quick=True) as subject:
        yield subject
