"""Platforms for the quick cut of the faults: one of each kind, kept for as long as its faults follow each other."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.ground import Ground, ground
from tests.faults.settings import Setting


@pytest.fixture(scope="session")
def ground_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Setting], Ground]]:
    """Gives the platform of a kind: the one that runs, or a new one in place of it."""
    with ExitStack() as stack:
        running: dict[Setting, Ground] = {}

        def get(setting: Setting) -> Ground:
            if setting not in running:
                stack.close()
                running.clear()
                root = tmp_path_factory.mktemp(f"faults-{setting.name}")
                running[setting] = stack.enter_context(ground(setting, root, is_quick=True))
            return running[setting]

        yield get


@pytest.fixture
def at(request: pytest.FixtureRequest, ground_of: Callable[[Setting], Ground]) -> Ground:
    """A running platform of the kind that is asked for."""
    return ground_of(request.param)
