"""Rules of completion in shells: quick, silent, and with what the platform has."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from forge_cli.__main__ import forge
from tests.platforms import FORGE

ANSWERS: dict[str, Any] = {
    "/v1/models": {"models": [{"slug": "toy", "title": "A toy"}, {"slug": "train", "title": "A train"}]},
    "/v1/renders": {"renders": [{"id": "rnd_2", "status": "running", "slug": "toy"}]},
    "/v1/probes": {"probes": [{"id": "prb_1", "status": "failed", "slug": "toy"}]},
    "/v1/api-keys": {"api_keys": [{"id": "key_1", "name": "ci"}, {"id": "key_2", "name": "old", "revoked_at": "2030"}]},
    "/v1/webhooks": {"webhooks": [{"id": "wh_1", "url": "https://hooks.test/x"}]},
    "/v1/webhook-deliveries": {"deliveries": [{"id": "dlv_1", "state": "dead", "render_id": "rnd_2"}]},
    "/v1/uploads": {"uploads": [{"id": "upl_1", "media_type": "image/png"}]},
    "/v1/capacity": {"targets": [{"gpu_type": "H200", "region": "a"}, {"gpu_type": "H200", "region": "b"}]},
}


class Edge(ThreadingHTTPServer):
    """Answers lists, and remembers what it was asked with which key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.answers_after: threading.Event | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Edge  # pyright: ignore[reportIncompatibleVariableOverride] — no other serves with it

    def do_GET(self) -> None:
        if self.server.answers_after:
            self.server.answers_after.wait(30)
        self.server.asked.append((self.path, self.headers.get("authorization")))
        content = json.dumps(ANSWERS[self.path.partition("?")[0]]).encode()
        with suppress(ConnectionError):  # who asked may have left
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] — it would print
        pass


@pytest.fixture
def edge() -> Iterator[Edge]:
    server = Edge()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def complete(edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `forge …` can go on with."""
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    monkeypatch.setenv("FORGE_API_BASE", edge.address)
    monkeypatch.setenv("FORGE_API_KEY", "fk_test")

    def offered(*words: str) -> list[str]:
        *before, incomplete = words
        found = ShellComplete(forge, {}, "forge", "_FORGE_COMPLETE").get_completions(before, incomplete)
        return [item.value for item in found]

    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("mod",), ["model", "models"]),
        (("model", ""), ["toy", "train"]),
        (("render", "tr"), ["train"]),
        (("renders", "--model", "to"), ["toy"]),
        (("watch", ""), ["rnd_2"]),
        (("continue", ""), ["rnd_2"]),
        (("trace", "rnd"), ["rnd_2"]),
        (("probes", "watch", ""), ["prb_1"]),
        (("keys", "revoke", ""), ["key_1"]),
        (("usage", "--key", ""), ["key_1"]),
        (("webhooks", "delete", ""), ["wh_1"]),
        (("webhooks", "replay", ""), ["dlv_1"]),
        (("uploads", "delete", ""), ["upl_1"]),
        (("render", "toy", "--gpu-type", ""), ["H200"]),
        (("render", "toy", "--region", ""), ["a", "b"]),
        (("completion", "f"), ["fish"]),
    ],
)
def test_what_the_platform_has_is_offered(complete, words, offered):
    assert complete(*words) == offered


def test_it_is_asked_as_the_command_itself_would_ask(complete, edge):
    complete("continue", "--api-key", "fk_other", "")
    assert edge.asked == [("/v1/renders?page_size=50&status=paused", "Bearer fk_other")]


def test_where_nobody_answers_there_is_nothing_to_choose_from(complete, edge, monkeypatch, capsys):
    assert complete("model", "--api-base", "http://127.0.0.1:1", "") == []
    assert complete("model", "--api-base", "nonsense", "") == []
    monkeypatch.setitem(ANSWERS, "/v1/models", {"code": 7})
    assert complete("model", "") == []
    assert capsys.readouterr() == ("", "")


def test_a_slow_platform_is_not_waited_for(complete, edge, monkeypatch):
    monkeypatch.setattr("forge_cli.completing._SECONDS", 0.05)
    edge.answers_after = threading.Event()
    assert complete("model", "") == []
    edge.answers_after.set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_to_install_it(shell):
    script = CliRunner().invoke(forge, ["completion", shell]).stdout
    assert f"# To install: {'source <(' if shell != 'fish' else ''}forge completion {shell}" in script
    assert f"_FORGE_COMPLETE={shell}_complete" in script
    assert script.startswith("#compdef forge\n") == (shell == "zsh")


def test_bash_completes_with_the_script(tmp_path):
    asked = "source <(forge completion bash); COMP_WORDS=(forge comp); COMP_CWORD=1; _forge_completion forge"
    done = subprocess.run(
        ["bash", "-c", f'{asked}; echo "${{COMPREPLY[*]}}"'],
        env={"PATH": f"{FORGE.parent}:/usr/bin:/bin", "FORGE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("completion\n", "")


def test_every_argument_that_names_something_of_the_platform_is_completed():
    def all_of(group: click.Group) -> Iterator[click.Command]:
        for command in group.commands.values():
            yield from all_of(command) if isinstance(command, click.Group) else [command]

    ids = {"render_id", "probe_id", "probe_ids", "key_id", "webhook_id", "delivery_id", "upload_id"}
    named = {"slug", "gpu_type", "region", *ids}
    plain = [
        f"{command.name} {parameter.name}"
        for command in all_of(forge)
        for parameter in command.params
        if parameter.name in named and parameter._custom_shell_complete is None
    ]
    assert plain == []
