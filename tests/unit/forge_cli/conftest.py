"""What the command's tests share: a fake platform, and `forge` run against it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from forge.scheduler.v1 import render_pb2, runtime_pb2
from google.rpc import status_pb2

from forge_cli.__main__ import forge
from tests.unit.forge_cli.builders import (
    make_capacity,
    make_event,
    make_render,
    make_runtime,
    make_story,
    pack_status,
)
from tests.unit.forge_cli.fake_platform import KEY, Platform, start_server


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A fake platform on a free port."""
    found = Platform()
    server, port = start_server(found, "127.0.0.1:0")
    found.address = f"http://127.0.0.1:{port}"

    def restart() -> None:
        nonlocal server
        server.stop(None).wait()
        server, _ = start_server(found, f"127.0.0.1:{port}")

    found.restart = restart
    try:
        yield found
    finally:
        server.stop(None).wait()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once, and so is what is looked at again and again."""
    monkeypatch.setattr("forge_cli.patience._PAUSES_SECONDS", (0.01,))
    monkeypatch.setattr("forge_cli.probing._LOOK_EVERY_SECONDS", 0.0)


@pytest.fixture
def environment(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `forge` needs to find the fake platform and its key; the working directory becomes an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return {"FORGE_HOME": str(tmp_path / "home"), "FORGE_API_BASE": platform.address, "FORGE_API_KEY": KEY}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """Runs `forge …` against the fake platform."""

    def run_forge(*arguments: str, key: str | None = KEY) -> Result:
        return CliRunner().invoke(forge, arguments, env={**environment, "FORGE_API_KEY": key})

    return run_forge


@pytest.fixture
def event() -> Callable[..., render_pb2.RenderEvent]:
    """Builds an event."""
    return make_event


@pytest.fixture
def story() -> list[render_pb2.RenderEvent]:
    """The events of a render that goes well."""
    return make_story()


@pytest.fixture
def render() -> Callable[..., render_pb2.Render]:
    """Builds a render that succeeded."""
    return make_render


@pytest.fixture
def runtime() -> Callable[..., runtime_pb2.Runtime]:
    """Builds a runtime that is warm."""
    return make_runtime


@pytest.fixture
def capacity() -> Callable[..., runtime_pb2.TargetCapacity]:
    """Builds a target with one free slot of two."""
    return make_capacity


@pytest.fixture
def packed_status() -> Callable[..., status_pb2.Status]:
    """Builds a google.rpc.Status with details."""
    return pack_status
