"""The examples run as they stand, with the client package as it is installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from services.web.adapters.contract_files import contract_files
from tests.documented import blocks
from tests.platforms import REPOSITORY, SKYREELS, SMALL

EXAMPLES = REPOSITORY / "examples"
PACKAGE = REPOSITORY / "clients" / "python"
PROGRAMS = [block for block in blocks() if block.language == "python" and "forge_client" in block.text]
SMALL_INPUTS = json.dumps(SMALL[SKYREELS]).strip("{}")
COMMANDS = {".py": [sys.executable, "-S"], ".mjs": ["node"], ".sh": ["bash"]}
"""How an example is run, by its suffix. Without `site`, Python finds nothing of this repository."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client package, built."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(PACKAGE))
    (built,) = folder.glob("forge_client-*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client package and nothing else of this repository."""
    folder = tmp_path_factory.mktemp("installed")
    _pip("install", "--no-index", "--target", str(folder), str(wheel))
    return folder


def _pip(command: str, *args: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", command, *quiet, *args], check=True, timeout=120)


def run(example: str, folder: Path, platform: Any, body: Any, path: str) -> Any:
    (folder / "request.json").write_text(json.dumps(body))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "NO_PROXY": "*",
        "FORGE_API_BASE": platform.url,
        "FORGE_API_KEY": platform.key,
    }
    command = [*COMMANDS[Path(example).suffix], str(EXAMPLES / example), "request.json"]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def python_path(installed: Path) -> str:
    """Where the client package is, and the libraries that it needs."""
    return f"{installed}:{Path(pytest.__file__).parents[1]}"


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in COMMANDS))
def test_an_example_renders_follows_and_saves(example, platform, facts, tmp_path, python_path):
    if not shutil.which(COMMANDS[Path(example).suffix][0]):
        pytest.skip(f"{COMMANDS[Path(example).suffix][0]} is not here")
    done = run(example, tmp_path, platform, platform.small(SKYREELS), python_path)
    assert done.returncode == 0, done.stderr
    saved = done.stdout.split()
    assert set(saved) == {path.name for path in tmp_path.glob("*.mp4")}
    assert saved
    for name in saved:
        assert facts((tmp_path / name).read_bytes()) == (5, 64, 64, 24)
    assert re.search(r'100% done|"fraction":1,', done.stderr), done.stderr
    assert "Error" not in done.stderr


@pytest.mark.parametrize("example", ["render.py", "render_over_rest.py", "render.mjs", "render.sh"])
def test_an_example_says_what_is_wrong_with_a_request(example, platform, tmp_path, python_path):
    if not shutil.which(COMMANDS[Path(example).suffix][0]):
        pytest.skip(f"{COMMANDS[Path(example).suffix][0]} is not here")
    done = run(example, tmp_path, platform, platform.small(SKYREELS, width=65), python_path)
    assert done.returncode == 1
    assert "width: must be a multiple of 16" in done.stderr
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_of_a_document_runs(block, platform, tmp_path, python_path):
    small = {
        "key)": f"{platform.key!r})",
        "http://127.0.0.1:8080": platform.url,
        '"prompt": "a red square"': SMALL_INPUTS,
    }
    text = block.text
    for shown, real in small.items():
        assert shown in text
        text = text.replace(shown, real)
    environment = {"PYTHONPATH": python_path, "NO_PROXY": "*"}
    command = [sys.executable, "-S", "-c", text]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "done 100%" in done.stdout


def test_the_package_has_the_whole_public_contract_with_its_types_and_nothing_internal(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for service in contract_files().services:
        module = re.sub(r"(?<!^)(?=[A-Z])", "_", service.proto.name).lower()
        stem = f"{service.full_name.rpartition('.')[0].replace('.', '/')}/{module}_pb2"
        assert {f"{stem}.py", f"{stem}.pyi", f"{stem}_grpc.py", f"{stem}_grpc.pyi"} <= set(names)
    assert {"forge/py.typed", "forge_client/py.typed"} <= set(names)
    assert not [name for name in names if "worker" in name or "__pycache__" in name or name.endswith(".pyc")]


def test_the_package_asks_for_the_libraries_that_its_stubs_were_made_for(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
    asked = dict(re.findall(r"Requires-Dist: ([\w-]+).*?>=([\d.]+)", archive.read(metadata).decode()))
    assert set(asked) == {"googleapis-common-protos", "grpcio", "protobuf"}
    stubs = archive.read("forge/catalog/v1/catalog_service_pb2_grpc.py").decode()
    messages = archive.read("forge/catalog/v1/catalog_service_pb2.py").decode()
    grpc_made = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", stubs)
    protobuf_made = re.search(r"Protobuf Python Version: ([\d.]+)", messages)
    assert grpc_made
    assert protobuf_made
    assert numbers(asked["grpcio"]) >= numbers(grpc_made[1])
    assert numbers(asked["protobuf"]) >= numbers(protobuf_made[1])


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_documents_show_the_package():
    assert len(PROGRAMS) >= 2


def test_the_package_has_the_version_of_the_platform():
    versions = [
        re.search(r'^version = "(.+)"$', (folder / "pyproject.toml").read_text(), re.M)
        for folder in (REPOSITORY, PACKAGE)
    ]
    assert versions[0]
    assert versions[1]
    assert versions[0][1] == versions[1][1]
