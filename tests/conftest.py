"""What holds for all tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.databases import OpenDatabase, opening
from tests.postgresql import a_postgresql

# The same examples every time, however slow the machine is.
settings.register_profile(
    "forge", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("forge")


_ON_ONE_PLATFORM = "tests/e2e/platform/"
"""Tests that share a platform: it is started once when they are not spread over processes."""


class ByFileOrPlatform(LoadFileScheduling):
    """Gives each process whole files, and the files that share a platform to one."""

    def _split_scope(self, nodeid: str) -> str:
        return _ON_ONE_PLATFORM if nodeid.startswith(_ON_ONE_PLATFORM) else super()._split_scope(nodeid)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL that all tests of this process share."""
    with a_postgresql() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def open_database(request: pytest.FixtureRequest) -> OpenDatabase:
    """Opens databases; whoever uses it is run on each kind."""
    return _opening_as_asked(request)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.only_full_size)])
def open_database_of_all(request: pytest.FixtureRequest) -> OpenDatabase:
    """Opens databases for tests of what stands on stores that have tests of their own."""
    return _opening_as_asked(request)


def _opening_as_asked(request: pytest.FixtureRequest) -> OpenDatabase:
    return opening(None if request.param == "sqlite" else request.getfixturevalue("postgresql"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return ByFileOrPlatform(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-size",
        action="store_true",
        help="take no quick cuts and leave nothing out: the demo, every seed, every video",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full-size"):
        return
    left_out = [item for item in items if item.get_closest_marker("only_full_size")]
    items[:] = [item for item in items if item not in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
