"""What documents show to be copied runs as it stands there: against this platform, with names that are real."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.documented import SHELLS, Block, blocks, commands, lines
from tests.pictures import a_png
from tests.platforms import FORGE, REPOSITORY, SKYREELS
from tests.receivers import Receiver, receiving

ELSEWHERE = {
    "make demo": "tests/e2e/platform/test_demo.py",
    "make test": "tests/conftest.py",
    "make up": "tests/platforms.py",
    "pip install ./clients/python": "tests/e2e/platform/test_examples.py",
    "forge probe": "tests/e2e/measured/test_documented_probes.py",
    "python -m models_demo.training": "tests/unit/models_demo/test_training.py",
    "make train-demo": "tests/unit/models_demo/test_training.py",
}
"""Lines that are not run here, by what is in them, with the file that does what they do."""
NEEDS_A_GPU = ("python -m bench.engine_gpu    ", "python -m bench.engine_gpu svd")
"""Lines that nothing runs here. tests/unit/documents checks their programs and options, as it does for all lines."""
LONG = ("bench.demo_content", "bench.engine_gpu --tiny", "tests.faults --only", "tests.simulation", "forge doctor")
"""Lines that take long: only in full size."""
SMALL = "-p width=64 -p height=64 -p num_frames=5 -p num_inference_steps=3"
SMALLER = {
    '"width": 512, "height": 320,': '"width": 64, "height": 64, "num_inference_steps": 3,',
    '"num_frames": 29': '"num_frames": 5',
    "-p width=512 -p height=320 -p num_frames=29": SMALL,
    "--combinations 200": "--combinations 2 --of-other-ways 1 --pictures 1",
    '-p prompt="a red kite over a beach"': f'-p prompt="a red kite" {SMALL}',
    "--pause-after-step 8": f"{SMALL} --pause-after-step 2",
    "--image cat.png -p seed=17": "--image cat.png -p width=64 -p height=64 -p num_frames=2 -p num_inference_steps=2",
    "--seeds 10000": "--seeds 10",
    "--seeds 500": "--seeds 10",
    "--only 'SIGTERM' --tries 3": "--only 'SIGTERM to a worker' --tries 1",
    "--rounds 20": "--rounds 1",
    "bench.engine_gpu --tiny": "bench.engine_gpu --tiny attention decode",
}
"""Sizes that are waited for here."""
SOURCED = re.compile(r"source <\((forge completion (?!bash)\w+)\)")
"""A script for a shell that may not be here is made, but not read."""
PLAYER = """\
import sys, av
with av.open(sys.stdin.buffer) as video:
    assert any(True for _ in video.decode(video=0)), "nothing to see"
"""
"""In place of a window: one that decodes what it is given, and fails where that is no video."""


def is_elsewhere(line: str) -> bool:
    return any(part in line for part in (*ELSEWHERE, *NEEDS_A_GPU))


def is_long(line: str) -> bool:
    return any(part in line for part in LONG)


def kept(block: Block, *, long: bool = False) -> str:
    """The lines of a block that are run together; those that take long on their own."""
    found = [line for line in lines(block.text) if not is_elsewhere(line) and is_long(line) == long]
    return "".join(found) if any(commands(line, block.language) for line in found) else ""


SHELL_BLOCKS = [block for block in blocks() if block.language in SHELLS]
SHORT = [block for block in SHELL_BLOCKS if kept(block)]
IN_FULL_SIZE = [block for block in SHELL_BLOCKS if kept(block, long=True)]


@pytest.fixture(scope="module")
def finished(platform: Any) -> str:
    """A render that has succeeded."""
    with platform.client() as client:
        render = client.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
    assert render["status"] == "succeeded"
    return render["id"]


@pytest.fixture
def paused(platform: Any, rest: Any, eventually: Any) -> str:
    """A render that is paused."""
    body = platform.small(SKYREELS, pause_after_step=1)
    render_id = rest.post("/v1/renders", json=body).json()["id"]
    eventually(lambda: rest.get(f"/v1/renders/{render_id}").json()["status"] == "paused", seconds=60, what="the pause")
    return render_id


@pytest.fixture
def failed(platform: Any, rest: Any) -> str:
    """A render that has failed: its time was over before it had begun."""
    body = platform.small(SKYREELS, deadline=f"{datetime.now(UTC) + timedelta(seconds=0.5):%FT%T.%fZ}")
    render = rest.post(f"/v1/inference/{SKYREELS}", json=body | {"num_inference_steps": 100, "num_frames": 17}).json()
    assert render["status"] == "failed"
    return render["id"]


@pytest.fixture
def receiver(rest: Any) -> Iterator[Receiver]:
    """Somebody who wants no messages. Webhooks to there are gone after the test."""
    with receiving() as subject:
        subject.status = 410
        yield subject
        for webhook in rest.get("/v1/webhooks").json()["webhooks"]:
            if webhook["url"] == subject.url:
                rest.delete(f"/v1/webhooks/{webhook['id']}").raise_for_status()


@pytest.fixture
def dead(platform: Any, rest: Any, receiver: Receiver, eventually: Any) -> str:
    """A delivery that nobody took."""
    webhook = rest.post("/v1/webhooks", json={"url": receiver.url, "statuses": ["succeeded"]}).json()["webhook"]
    rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).raise_for_status()
    asked = {"webhook_id": webhook["id"], "state": "dead"}
    found = eventually(
        lambda: rest.get("/v1/webhook-deliveries", params=asked).json()["deliveries"], what="a dead delivery"
    )
    return found[0]["id"]


@pytest.fixture
def api_key_id(rest: Any) -> str:
    """A key that may be lost."""
    return rest.post("/v1/api-keys", json={"name": "documents"}).json()["api_key"]["id"]


@pytest.fixture
def real(platform: Any, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes a text one that can be run: real names in place of placeholders, and small videos."""
    named = {
        "retry rnd_…": lambda: f"retry {request.getfixturevalue('failed')}",
        "branch rnd_…": lambda: f"branch {request.getfixturevalue('paused')}",
        "continue rnd_…": lambda: f"continue {request.getfixturevalue('paused')}",
        "rnd_…": lambda: request.getfixturevalue("finished"),
        "key_…": lambda: request.getfixturevalue("api_key_id"),
        "dlv_…": lambda: request.getfixturevalue("dead"),
        "https://hooks.example.com/forge": lambda: request.getfixturevalue("receiver").url,
        "http://127.0.0.1:8080": lambda: platform.url,
        "--home DIR": lambda: f"--home {platform.home}",
        "my-model": lambda: SKYREELS,
    }

    def made(text: str) -> str:
        for shown, small in SMALLER.items():
            text = text.replace(shown, small)
        text = SOURCED.sub(r"\1", text).replace(".venv/bin/", "").replace(".forge/", f"{platform.home}/")
        text = re.sub(r"FORGE_HOME=\.forge\b", f"FORGE_HOME={platform.home}", text)
        for shown, name in named.items():
            text = text.replace(shown, name()) if shown in text else text
        return text

    return made


@pytest.fixture
def run(platform: Any, real: Callable[[str], str], tmp_path: Path) -> Callable[..., None]:
    """Runs a text in a folder of its own that has what the documents speak of."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "forge").symlink_to(FORGE)
    player = programs / "ffplay"
    player.write_text(f"#!{sys.executable}\n{PLAYER}")
    player.chmod(0o700)
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    (tmp_path / "cat.png").write_bytes(a_png(colour="orange"))
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(tmp_path),
        "NO_PROXY": "*",
        "FORGE_HOME": str(platform.home),
        "FORGE_API_BASE": platform.url,
        "FORGE_API_KEY": platform.key,
    }

    def run(text: str, seconds: float = 120) -> None:
        text = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n' + real(text)
        done = subprocess.run(
            ["bash", "-c", text], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=seconds
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"

    return run


@pytest.mark.parametrize("block", SHORT, ids=str)
def test_a_block_of_commands_runs(block, run):
    run(kept(block))


@pytest.mark.only_full_size
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", IN_FULL_SIZE, ids=str)
def test_what_takes_long_runs_too(block, run):
    run(kept(block, long=True), seconds=800)


def test_what_is_not_run_here_is_still_shown_and_done_where_it_says():
    texts = "\n".join(block.text for block in SHELL_BLOCKS)
    assert [part for part in (*ELSEWHERE, *NEEDS_A_GPU, *LONG) if part not in texts] == []
    assert [path for path in ELSEWHERE.values() if not (REPOSITORY / path).is_file()] == []
