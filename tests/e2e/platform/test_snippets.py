"""Snippets run against a platform as they were copied from it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SKYREELS = "skywork-skyreels-v2"
VERSION = "df-1-3b-540p-diffusers"
PIN = {"gpu_type": "B200", "region": "us-central1"}
REPOSITORY = Path(__file__).resolve().parents[3]
NODE = shutil.which("node")
LANGUAGES = {"python": sys.executable, "python_grpc": sys.executable, "javascript": NODE}


@pytest.fixture
def snippet(rest: Any, platform: Any) -> Callable[..., str]:
    """The text of a kind."""

    def read(kind: str, **selection: str) -> str:
        query = {"base_url": platform.url, **selection, "kind": kind}
        answer = rest.get(f"/v1/models/{SKYREELS}/snippets", params=query)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["snippets"]
        return found["text"]

    return read


@pytest.fixture
def run(platform: Any, tmp_path: Path) -> Callable[..., Any]:
    """Runs a text in an empty directory, with the platform's key and a small body."""
    body = tmp_path / "small body.json"
    body.write_text(json.dumps(platform.small(SKYREELS)))
    (tmp_path / "bin").mkdir()
    if not shutil.which("grpcurl"):
        stand_in = tmp_path / "bin" / "grpcurl"
        stand_in.write_text(f'#!/bin/bash\nexec "{sys.executable}" "{Path(__file__).with_name("grpcurl.py")}" "$@"\n')
        stand_in.chmod(0o700)

    def run_text(text: str, *command: str, **environment: str) -> Any:
        given = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY / "gen"),
            "NO_PROXY": "*",
            "FORGE_API_KEY": platform.key,
            "FORGE_REQUEST_BODY_FILE": str(body),
            **environment,
        }
        return subprocess.run(
            command or ("bash",), input=text, env=given, cwd=tmp_path, text=True, capture_output=True, timeout=120
        )

    return run_text


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_setup_and_check_are_right_for_every_way_to_write_the_address(platform, snippet, run, suffix):
    address = platform.url + suffix
    setup = snippet("setup", base_url=address, **PIN)
    done = run(f"{setup}{snippet('check', base_url='', **PIN)}")
    assert done.returncode == 0, done.stderr
    assert f"POST /v1/inference/{SKYREELS} runs version {VERSION} on:\n  B200 us-central1: " in done.stdout
    assert run(snippet("check", base_url=""), FORGE_API_BASE=address).returncode == 0


def test_what_the_command_prints_can_be_run_as_it_is(platform, run):
    done = run(platform.forge("snippets", SKYREELS, "--kind", "check").stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The key is good.")


def test_a_key_that_is_none_and_a_target_that_is_not_there_are_told(snippet, run):
    refused = run(snippet("check"), FORGE_API_KEY="fk_wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "UNAUTHENTICATED" in refused.stderr
    unknown = run(snippet("check"), FORGE_GPU_TYPE="B2000")
    assert unknown.returncode == 1
    assert "did you mean 'B200'" in unknown.stderr


def test_reliability_of_imitated_targets_asks_for_a_probe(snippet, run):
    done = run(snippet("reliability"))
    assert done.returncode == 1
    assert f"{SKYREELS} {VERSION}: pending\nsupported: 0 of 6 targets\nstatus_counts: 6 pending\n" in done.stdout
    assert "Run a probe" in done.stderr


def test_an_estimate_is_of_the_example_or_of_a_body(snippet, run):
    line = r"selected: \w+ [\w-]+, [\d.]+ s, \$[\d.]+ warm(, \$[\d.]+ with a cold start)?\n"
    example = run(snippet("estimate", **PIN), FORGE_REQUEST_BODY_FILE="")
    assert re.search(line, example.stdout), example.stderr
    assert "selected: B200 us-central1, " in example.stdout
    small = run(snippet("estimate"))
    assert re.search(line, small.stdout), small.stderr
    assert small.stdout != example.stdout


def test_a_version_is_warmed_up_and_its_status_says_so(snippet, run, rest):
    done = run(snippet("warm_up", **PIN))
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{SKYREELS} {VERSION} on B200 us-central1: warm.*\nstartup_ms=\d+\nIt frees", done.stdout)
    kept = run(snippet("warm_up", **PIN), FORGE_KEEP_WARM="true")
    assert "warm already" in kept.stdout
    assert "It stays warm until it is stopped." in kept.stdout
    status = run(snippet("status"))
    assert f"{SKYREELS} {VERSION}: warm\n" in status.stdout
    assert "  B200 us-central1: warm, kept warm\n" in status.stdout
    rest.post(f"/v1/model-families/{SKYREELS}/stop", json=PIN)


def test_curl_prints_the_render(snippet, run, rest, tmp_path, platform):
    done = run(snippet("curl"), FORGE_API_BASE=f"{platform.url}/v1")
    render = json.loads(done.stdout)
    assert (done.returncode, render["status"]) == (0, "succeeded")
    assert done.stderr == f"Its video: {platform.url}{render['output']['video_url']}\n"
    assert rest.get(render["output"]["video_url"]).content[4:8] == b"ftyp"
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("kind", LANGUAGES)
@pytest.mark.parametrize("suffix", ["", "/v1"])
def test_a_program_saves_the_video(snippet, run, platform, facts, tmp_path, kind, suffix):
    if not LANGUAGES[kind]:
        pytest.skip("node is not here")
    done = run(snippet(kind, base_url=""), LANGUAGES[kind], "-", "cat.mp4", FORGE_API_BASE=platform.url + suffix)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "cat.mp4\n"
    assert facts((tmp_path / "cat.mp4").read_bytes()) == (5, 64, 64, 24)


def test_an_exported_target_is_where_a_program_renders(snippet, run, rest):
    done = run(snippet("python"), sys.executable, "-", FORGE_GPU_TYPE="B200", FORGE_REGION="us-central1")
    render_id = done.stdout.strip().removesuffix(".mp4")
    assert rest.get(f"/v1/renders/{render_id}").json()["target"]["gpu_type"] == "B200", done.stderr


def test_grpcurl_sees_the_service_creates_a_render_and_watches_it(snippet, run, platform):
    done = run(snippet("grpc"), FORGE_API_BASE=f"{platform.url}/v1/")
    assert done.returncode == 0, done.stderr
    assert "forge.scheduler.v1.RenderService is a service:" in done.stdout
    assert '"status": "succeeded"' in done.stdout


@pytest.mark.parametrize(
    ("kind", "seconds"), [("curl", "3"), ("python", "3"), ("python_grpc", "1"), ("javascript", "0.5")]
)
def test_the_example_outlasts_a_short_wait_and_its_events_are_named(snippet, run, rest, kind, seconds):
    command = LANGUAGES.get(kind, "bash")
    if not command:
        pytest.skip("node is not here")
    done = run(snippet(kind), command, FORGE_REQUEST_TIMEOUT_SECONDS=seconds, FORGE_REQUEST_BODY_FILE="")
    assert done.returncode == 1
    told = re.search(r"It is (queued|running) and goes on\..*/v1/renders/(rnd_\w+)/events", done.stderr)
    assert told, done.stderr
    assert rest.post(f"/v1/renders/{told[2]}/cancel", json={}).status_code == 200
