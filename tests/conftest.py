"""What holds for all tests."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from obstore.store import LocalStore, MemoryStore, ObjectStore
from xdist.scheduler import LoadFileScheduling

from services.chassis.config import ChassisSettings
from services.chassis.objects import object_store
from tests.databases import OpenDatabase, opening
from tests.object_stores import BUCKET, ObjectStoreServer, Spoiler, an_object_store
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


@pytest.fixture(scope="session")
def object_server() -> Iterator[tuple[ObjectStoreServer, Spoiler]]:
    """An S3-compatible server that all tests of this process share, and what may spoil its answers."""
    with an_object_store() as server:
        yield server


@pytest.fixture
def bucket(
    object_server: tuple[ObjectStoreServer, Spoiler], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], ObjectStore]]:
    """Opens a bucket under a prefix of the test's own, as the environment says by then; nothing spoils its answers."""
    server, spoiler = object_server
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FORGE_OBJECTS_URL", f"s3://{BUCKET}/{secrets.token_hex(4)}")
    yield lambda: object_store(ChassisSettings())
    spoiler.nothing()


@pytest.fixture(params=["memory", "disk", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty object store; whoever uses it is run on each kind."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "disk":
        return LocalStore(tmp_path / "objects", mkdir=True)
    return request.getfixturevalue("bucket")()


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
