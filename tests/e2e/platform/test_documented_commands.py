"""What documents show to be copied runs as it stands there: against this platform, with names that are real."""

import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.documented import SHELLS, Block, blocks, commands
from tests.platforms import FORGE, REPOSITORY, SKYREELS

CLIENTS = {"forge", "curl", "export", "echo", "grep", "head", "cat"}
"""Programs of blocks that are run: clients of a platform, and what every system has."""
CHECKED_ONLY = {
    "forge probe": "it renders whole examples; test_forge_command.py runs it on a small one",
    "forge accounts": "it writes beside the running service; its own tests run it",
    "forge doctor": "it judges the machine; its own tests run it",
    "forge retry": "nothing has failed here",
    "forge render my-model": "the model is the reader's, and its default size takes a minute",
    "| ffplay": "it plays, and is not here",
    "dlv_…": "it needs a delivery that failed for a day; test_webhooks.py replays one",
    "https://hooks.example.com": "its host does not exist; test_webhooks.py makes webhooks",
}
"""What a line has that is not run here, with why. Its commands are checked in tests/unit/documents."""
PLATFORMS = ("forge up", "forge demo")
"""What would be a second platform."""
SMALL = "-p width=64 -p height=64 -p num_frames=5 -p num_inference_steps=3"
SMALLER = {
    '"width": 320, "height": 192,': '"width": 64, "height": 64, "num_inference_steps": 3,',
    '"num_frames": 17': '"num_frames": 5',
    "-p width=320 -p height=192 -p num_frames=17": SMALL,
    "--pause-after-step 8": f"{SMALL} --pause-after-step 2",
    "--image cat.png -p seed=17": "--image cat.png -p width=64 -p height=64 -p num_frames=2 -p num_inference_steps=2",
}
"""Sizes that are waited for here."""


def runnable(block: Block) -> str:
    """The lines of a block that are run here; a line goes on where it ends in a backslash."""
    lines = re.findall(r"(?:.*\\\n)*.*\n", block.text)
    kept = "".join(line for line in lines if not any(part in line for part in (*CHECKED_ONLY, *PLATFORMS)))
    programs = {words[0].removeprefix(".venv/bin/") for words in commands(kept, block.language)}
    return kept if programs <= CLIENTS and programs & {"forge", "curl"} else ""


RUN = [block for block in blocks() if block.language in SHELLS and runnable(block)]


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
def real(platform: Any, finished: str, request: pytest.FixtureRequest) -> Any:
    """Makes a text one that can be run: real names in place of placeholders, and small videos."""

    def made(text: str) -> str:
        for shown, small in SMALLER.items():
            text = text.replace(shown, small)
        text = re.sub(r"(forge (?:branch|continue) )rnd_…", lambda call: call[1] + paused_id(), text)
        text = text.replace("rnd_…", finished).replace("key_…", made_key(platform))
        text = (
            text.replace("my-model", SKYREELS).replace(".venv/bin/forge", "forge").replace(".forge", str(platform.home))
        )
        return text.replace("http://127.0.0.1:8080", platform.url)

    def paused_id() -> str:
        return request.getfixturevalue("paused")

    return made


def made_key(platform: Any) -> str:
    with platform.client() as client:
        return client.post("/v1/api-keys", json={"name": "documents"}).json()["api_key"]["id"]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_of_commands_runs(block, platform, real, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "forge").symlink_to(FORGE)
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    (tmp_path / "cat.png").write_bytes(picture())
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NO_PROXY": "*",
        "FORGE_HOME": str(platform.home),
        "FORGE_API_BASE": platform.url,
        "FORGE_API_KEY": platform.key,
    }
    text = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n' + real(runnable(block))
    done = subprocess.run(
        ["bash", "-c", text], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{block}\n{text}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def picture() -> bytes:
    """A small picture."""
    kept = io.BytesIO()
    Image.new("RGB", (64, 64), "orange").save(kept, "PNG")
    return kept.getvalue()


def test_most_blocks_for_a_running_platform_are_run():
    documents = {Path(block.path).name for block in RUN}
    assert {"README.md", "quick-start.md", "clients.md", "webhooks.md", "adding-a-model.md"} <= documents


def test_what_is_not_run_is_still_there():
    texts = "\n".join(block.text for block in blocks())
    assert [part for part in CHECKED_ONLY if part not in texts] == []
