"""Rules of how the command as a whole ends: its statuses, and words instead of tracebacks."""

import errno
import json
import os
import re
import subprocess

import pytest
from click.testing import CliRunner
from google.rpc import error_details_pb2

from forge_cli import exits
from forge_cli.__main__ import forge
from forge_cli.release import Release, this_release
from tests.platforms import FORGE, REPOSITORY


def test_the_statuses_are_those_of_the_documentation():
    text = (REPOSITORY / "docs" / "cli.md").read_text("utf-8")
    table = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert table == {0, *(value for name, value in vars(exits).items() if name.isupper())}


@pytest.mark.parametrize("line", [("modles",), ("keys", "crate"), ("models", "--jsn")])
def test_what_was_meant_is_told(line):
    done = CliRunner().invoke(forge, line)
    assert done.exit_code == 2
    assert "Did you mean" in done.stderr
    assert "--help" in done.stderr


def test_ctrl_c_ends_any_command_with_130(run, monkeypatch):
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("forge_cli.commands.models.run_with", interrupt)
    done = run("models")
    assert (done.exit_code, done.stdout) == (130, "")
    assert json.loads(run("models", "--json").stderr)["code"] == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_this_machine_refuses_is_told_in_words(run, monkeypatch, number):
    def refuse(*_args: object) -> None:
        raise OSError(number, os.strerror(number), "/videos/x.mp4")

    monkeypatch.setattr("forge_cli.commands.models.run_with", refuse)
    done = run("models")
    assert done.exit_code == 1
    assert f"Error: /videos/x.mp4: {os.strerror(number)}" in done.stderr
    assert ("make room" in done.stderr) == (number == errno.ENOSPC)


def test_a_bug_is_still_a_bug(run, monkeypatch):
    def fail(*_args: object) -> None:
        raise OSError(errno.EINVAL, "nonsense")

    monkeypatch.setattr("forge_cli.commands.models.run_with", fail)
    assert isinstance(run("models").exception, OSError)


def real(*arguments: str, environment: dict[str, str], **more) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(FORGE), *arguments], env=os.environ | environment, text=True, timeout=60, **more)


def test_a_disk_that_fills_leaves_no_half_video_and_says_so(environment, tmp_path):
    line = f"ulimit -f 1; exec {FORGE} watch rnd_1 -o x.mp4"
    done = subprocess.run(
        ["bash", "-c", line], env=os.environ | environment, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 1
    assert "Error: cannot write x.mp4: " in done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("x.mp4*")) == []


def test_a_full_output_is_a_failure_and_a_reader_who_leaves_is_none(environment):
    with open("/dev/full", "w") as full:  # noqa: PTH123 — a device
        done = real("models", "--json", environment=environment, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert json.loads(done.stderr)["code"] == 8
    for line in (("models", "--json"), ("models",)):
        reading, writing = os.pipe()
        os.close(reading)
        done = real(*line, environment=environment, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")


def test_colours_are_for_terminals_that_want_them(run, monkeypatch):
    refused = CliRunner().invoke(forge, ["models", "--api-base", "nonsense"], color=True)
    assert "\x1b[" in refused.stderr
    monkeypatch.setenv("NO_COLOR", "1")
    refused = CliRunner().invoke(forge, ["models", "--api-base", "nonsense"], color=True)
    assert "\x1b[" not in refused.stderr


def test_a_table_can_be_read_on_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    for line in (("models",), ("capacity",), ("keys", "list")):
        shown = run(*line).stdout
        assert shown.count("\n") <= 8, shown
    assert "1 of 2" in run("capacity").stdout


def test_a_refused_key_is_told_with_where_it_came_from(run, environment):
    assert "the key came from FORGE_API_KEY: it is not known here" in run("models", key="fk_other").stderr
    assert "the key came from --api-key" in run("models", "--api-key", "fk_other").stderr
    refused = run("models", key="")
    assert "the key came from" not in refused.stderr
    assert "give a key with --api-key" in refused.stderr


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("MODEL_NOT_FOUND", "forge models"),
        ("RENDER_NOT_FOUND", "forge renders"),
        ("VERSION_NOT_FOUND", "forge model SLUG"),
        ("UNKNOWN_TARGET", "forge capacity"),
        ("MISSING_SCOPE", "forge keys create NAME --scope"),
        ("RATE_LIMITED", "--rate"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(run, platform, packed_status, reason, remedy):
    info = error_details_pb2.ErrorInfo(reason=reason, domain="forge")
    platform.refusal = packed_status(5, "no", info)
    refused = run("model", "toy")
    assert refused.exit_code == 1
    assert remedy in refused.stderr


def test_a_name_that_leads_nowhere_is_no_platform_that_is_being_started(run):
    refused = run("models", "--api-base", "http://nowhere.invalid")
    assert "cannot reach Forge at http://nowhere.invalid" in refused.stderr
    assert "--api-base" in refused.stderr


def test_the_release_is_told_with_its_commit(run):
    shown = CliRunner().invoke(forge, ["--version"]).stdout
    assert shown == f"forge {this_release()}\n"
    assert str(Release("1.2.3")) == "1.2.3"
    assert str(Release("1.2.3", "abc+")) == "1.2.3 (abc+)"
    told = json.loads(run("version", "--json", "--api-base", "http://127.0.0.1:1").stdout)
    assert told["command"]["version"] == this_release().version
    assert told["platform"] is None


def test_asking_for_help_imports_no_more_than_it_needs():
    script = (
        "import sys; from click.testing import CliRunner; from forge_cli.__main__ import forge;"
        " CliRunner().invoke(forge, ['doctor', '--help']);"
        " print(sorted({'grpc', 'google', 'httpx', 'rich', 'yaml', 'psutil', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([str(FORGE.with_name("python")), "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
