"""Rules of --json: every command has it, programs get JSON in every case, and people are not talked to meanwhile."""

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from google.rpc import error_details_pb2

from forge_cli.__main__ import forge

WITHOUT = {
    "up": "it runs until it is stopped; programs ask /healthz and read run/api-base",
    "endpoint": "it runs until it is stopped; programs ask /healthz",
    "edge": "it runs until it is told to stop, and shows what Envoy says",
    "demo": "it is for people to look at; programs use forge render --json",
    "completion": "it prints a script",
}
"""Commands that have no --json, and why."""
ELSEWHERE = ["--api-base", "http://127.0.0.1:1"]


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that name it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts}


COMMANDS = {" ".join(path): (path, command) for path, command in leaves(forge)}
CLIENTS = {name: found for name, found in COMMANDS.items() if "--api-base" in options_of(found[1])}


def arguments_of(command: click.Command) -> list[str]:
    """Something for each argument that must be given, and for each such option."""
    given: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.required:
            given.append("x")
        elif parameter.required:
            given += [parameter.opts[0], "x"]
    return given


def test_every_command_can_tell_a_program_what_it_shows():
    without = {name for name, (_, command) in COMMANDS.items() if "--json" not in options_of(command)}
    assert without == set(WITHOUT)


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_a_program_is_told_in_json_that_nobody_answers(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n")  # for commands whose argument is a file
    path, command = CLIENTS[name]
    line = [*path, *arguments_of(command), "--json", *ELSEWHERE]
    if name == "version":
        pytest.skip("for it a platform that does not answer is no failure")
    done = CliRunner().invoke(forge, line, env={"FORGE_HOME": str(tmp_path)})
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    status = json.loads(done.stderr)
    assert status["code"] == 14
    assert "http://127.0.0.1:1" in status["message"]
    assert "forge up" in json.dumps(status["details"])


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(WITHOUT)))
def test_a_program_is_told_in_json_that_it_called_wrongly(name):
    path, _ = COMMANDS[name]
    done = CliRunner().invoke(forge, [*path, "--json", "--no-such-option"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert json.loads(done.stderr)["code"] == 3


def test_a_refusal_is_the_status_of_the_rest_api_with_what_to_do_about_it(run, platform, packed_status):
    info = error_details_pb2.ErrorInfo(reason="NO_FREE_SLOT", domain="forge", metadata={"offered": "H200"})
    platform.refusal = packed_status(8, "no slot is free", info)
    done = run("start", "toy", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    status = json.loads(done.stderr)
    assert (status["code"], status["message"]) == (8, "no slot is free")
    told, remedy = status["details"]
    assert (told["reason"], told["metadata"]) == ("NO_FREE_SLOT", {"offered": "H200"})
    assert "forge runtimes" in remedy["links"][0]["description"]


def test_each_wrong_input_is_a_violation(run):
    done = run("render", "toy", "-p", "promt=x", "-p", "num_frames=many", "--json")
    assert done.exit_code == 1
    status = json.loads(done.stderr)
    assert status["code"] == 3
    told = [violation["description"] for violation in status["details"][0]["field_violations"]]
    assert "promt is not an input of this version; did you mean prompt?" in told
    assert any(text.startswith("num_frames: must be a whole number") for text in told)


def test_a_name_after_two_dashes_is_no_flag(run):
    done = run("model", "--json", "--api-base", "nonsense", "--", "toy")
    assert json.loads(done.stderr)["code"] == 3
    done = run("model", "--api-base", "nonsense", "--", "--json")
    assert done.stderr.startswith("Error: ")


INPUTS = ("-p", "prompt=x", "-p", "image=x")


def test_a_render_is_one_document_once_it_has_ended_and_nothing_else_is_said(run, platform):
    done = run("render", "toy", *INPUTS, "-o", "x.mp4", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "succeeded"
    detached = run("render", "toy", *INPUTS, "--detach", "--json")
    assert json.loads(detached.stdout)["status"] == "queued"


def test_a_render_that_failed_is_printed_and_told_as_a_status(run, platform, render, event):
    platform.story = [event(1, "queued", status="queued"), event(2, "done", status="failed")]
    platform.render = render(status="failed", error={"reason": "ENGINE_FAILED", "message": "the engine failed"})
    done = run("render", "toy", *INPUTS, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["reason"] == "ENGINE_FAILED"
    status = json.loads(done.stderr)
    assert status["code"] == 10
    assert "forge retry rnd_1" in json.dumps(status["details"])


def test_a_paused_render_is_printed_and_ends_with_3(run, platform, render, event):
    platform.story = [event(1, "queued", status="queued"), event(2, "denoising", status="paused")]
    platform.render = render(status="paused")
    done = run("render", "toy", *INPUTS, "--json")
    assert (done.exit_code, done.stderr) == (3, "")
    assert json.loads(done.stdout)["status"] == "paused"


def test_watching_streams_each_event_as_a_line_as_the_rest_api_does(run, platform):
    done = run("watch", "rnd_1", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, 31))
    assert events[-1]["status"] == "succeeded"
    assert not any(event["keep_alive"] for event in events)


def test_only_one_thing_can_have_the_standard_output(run):
    for line in (("render", "toy", *INPUTS), ("watch", "rnd_1")):
        refused = run(*line, "--json", "--stream", "-")
        assert refused.exit_code == 2
        assert "--stream" in json.loads(refused.stderr)["message"]


def test_files_of_models_are_checked_for_a_program_too(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("slug: x\n")
    right = "config/models/wan-ai-wan-2-1.yaml"
    done = CliRunner().invoke(forge, ["catalogue", "check", "--json", right, str(wrong)])
    assert done.exit_code == 1
    first, second = json.loads(done.stdout)["files"]
    assert first == {"file": right, "faults": []}
    assert any("title" in fault for fault in second["faults"])
