"""What an operator asks the forge command of a platform that runs: doctor, version, completion."""

import json
import os
import subprocess

from tests.platforms import FORGE


def test_doctor_finds_a_running_platform_well_and_leaves_it_as_it_was(platform):
    files = {path.name for path in (platform.home / "state").iterdir()}
    done = platform.forge("doctor", "--json")
    found = json.loads(done.stdout)
    assert found["is_well"], [finding for finding in found["findings"] if finding["state"] == "fail"]
    assert platform.key not in done.stdout + done.stderr
    told = "\n".join(finding["text"] for finding in found["findings"] if finding["state"] == "pass")
    assert f"serves at {platform.url}" in told
    for service in ("accounts", "billing-estimate", "catalog", "scheduler", "web"):
        assert f"{service} is healthy" in told
    assert "what runs is of this release" in told
    assert "scheduler.sqlite3 holds together" in told
    assert {path.name for path in (platform.home / "state").iterdir()} == files
    assert platform.is_healthy()


def test_version_tells_the_platforms_release_beside_its_own(platform):
    told = json.loads(platform.forge("version", "--json").stdout)
    assert told["platform"] == {"address": platform.url, "api": "v1", "version": told["command"]["version"]}


def test_a_shell_is_offered_the_models_of_the_platform(platform):
    asked = {"_FORGE_COMPLETE": "bash_complete", "COMP_WORDS": "forge render wan", "COMP_CWORD": "2"}
    done = subprocess.run(
        [str(FORGE)], env=os.environ | asked | {"FORGE_HOME": str(platform.home)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("plain,wan-ai-wan-2-1\n", "")
