"""Rules of what the platform is started with."""

import ipaddress
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.stack import StackOptions, child_environment, fleet_named, free_ports, running_stack, secrets_not_for


@pytest.fixture
def options(tmp_path):
    return StackOptions(Home(tmp_path), "127.0.0.1", 0, "pages")


def test_services_get_their_addresses_and_the_home_but_no_key_of_the_client(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    given = {"PATH": "/bin", "FORGE_API_KEY": "secret", "FORGE_WEIGHTS": "weights"}
    child = child_environment(given, options, {"billing-estimate": "127.0.0.1:15001"})
    assert child["FORGE_BILLING_ESTIMATE_ADDRESS"] == "127.0.0.1:15001"
    assert child["FORGE_HOME"] == str(tmp_path)
    assert child["FORGE_FLEET"] == "pages"
    assert child["FORGE_WEIGHTS"] == str(tmp_path / "weights")
    assert child["PATH"] == "/bin"
    assert "FORGE_API_KEY" not in child


def test_programs_have_no_secrets_that_they_do_not_need():
    given = {"FORGE_DATABASE_URL": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "x", "PATH": "/bin"}
    of_buckets = ["AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"]
    assert secrets_not_for("scheduler", given) == []
    assert secrets_not_for("accounts", given) == of_buckets
    assert secrets_not_for("web", given) == secrets_not_for("edge", given) == [*of_buckets, "FORGE_DATABASE_URL"]


def test_only_the_scheduler_knows_the_token_of_a_ray_cluster():
    given = {"RAY_ADDRESS": "x", "RAY_AUTH_TOKEN": "x"}
    assert secrets_not_for("scheduler", given) == []
    assert {tuple(secrets_not_for(name, given)) for name in ("accounts", "web", "edge")} == {tuple(given)}


@pytest.mark.parametrize("address", ["127.0.0.2:6379", "ray://127.0.0.2:10001", "ray://localhost:10001"])
def test_workers_of_a_cluster_find_the_span_store_where_its_machines_see_this_one(options, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    recorder = Recorder(monkeypatch)
    with running_stack(replace(options, placer="ray")):
        pass
    listens = {name: recorder.environment[f"FORGE_{name}_ADDRESS"].rpartition(":")[0] for name in ("TRACES", "CATALOG")}
    assert listens["CATALOG"] == "127.0.0.1"
    assert ipaddress.ip_address(listens["TRACES"].strip("[]")).is_loopback
    assert recorder.environment["FORGE_PLACER"] == "ray"


@pytest.mark.parametrize("address", [None, "nowhere.invalid:6379"])
def test_a_cluster_that_cannot_be_found_is_refused_with_what_to_name(options, monkeypatch, address):
    if address is None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    else:
        monkeypatch.setenv("RAY_ADDRESS", address)
    Recorder(monkeypatch)
    with pytest.raises(CommandFailed) as refused, running_stack(replace(options, placer="ray")):
        pass
    assert refused.value.message.startswith("RAY_ADDRESS")
    assert "ray://host:10001" in refused.value.hints[0]


def test_only_what_guards_the_edge_knows_the_token_of_an_endpoint():
    given = {"FORGE_ENDPOINT_TOKEN": "x"}
    assert secrets_not_for("accounts", given) == []
    assert {tuple(secrets_not_for(name, given)) for name in ("scheduler", "web", "edge")} == {tuple(given)}


def test_named_weights_stay_names(options):
    assert child_environment({"FORGE_WEIGHTS": "demo"}, options, {})["FORGE_WEIGHTS"] == "demo"


def test_free_ports_differ_and_lie_below_those_the_system_hands_out():
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert max(ports) < 32_768


def test_a_fleet_is_a_known_name_or_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").touch()
    assert fleet_named(None) == "local"
    assert fleet_named("pages") == "pages"
    assert fleet_named("mine.yaml") == str(tmp_path / "mine.yaml")
    with pytest.raises(CommandFailed, match="there is no fleet yours"):
        fleet_named("yours")


def test_a_port_in_use_is_told_with_the_flag_that_helps(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(CommandFailed) as refused,
            running_stack(StackOptions(Home(tmp_path), "127.0.0.1", port, "local")),
        ):
            pass
    assert str(port) in refused.value.message
    assert "--port" in refused.value.hints[0]


class Recorder:
    """Stands for the supervisor and the edge: notes what is asked of them, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, drain_is_interrupted: bool = False) -> None:
        self.done: list[str] = []
        self.patience_seconds = 0.0
        self.said: list[str] = []
        self.programs = []
        self.environment: dict[str, str] = {}
        self._drain_is_interrupted = drain_is_interrupted
        monkeypatch.setattr("forge_cli.stack.Supervisor", self._supervisor)
        monkeypatch.setattr("forge_cli.stack.drain_edge", self._drain)
        monkeypatch.setattr("forge_cli.stack._first_key", lambda _environment: None)

    def _supervisor(self, programs, **_):
        self.programs = programs
        return self

    def start(self, environment):
        self.done.append("start")
        self.environment = environment

    def stop(self, *, patience_seconds):
        self.done.append("stop")
        self.patience_seconds = patience_seconds

    def _drain(self, _run_dir, *, patience_seconds, say):
        self.done.append("drain")
        say(f"waiting {patience_seconds:g} s")
        if self._drain_is_interrupted:
            raise KeyboardInterrupt


def test_the_edge_finishes_what_it_serves_before_anything_ends(options, monkeypatch):
    monkeypatch.setenv("FORGE_SHUTDOWN_GRACE_SECONDS", "3")
    recorder = Recorder(monkeypatch)
    with running_stack(options, recorder.said.append):
        assert recorder.done == ["start"]
    assert recorder.done == ["start", "drain", "stop"]
    assert recorder.said == ["Stopping … Ctrl-C again hurries.", "waiting 3 s"]


def test_a_second_interruption_ends_the_wait_for_calls_and_nothing_is_left_behind(options, monkeypatch):
    recorder = Recorder(monkeypatch, drain_is_interrupted=True)
    with pytest.raises(KeyboardInterrupt), running_stack(options, recorder.said.append):
        raise KeyboardInterrupt
    assert recorder.done == ["start", "drain", "stop"]
    assert "Not waiting for calls any longer" in recorder.said[-1]
    assert not options.home.api_base_file.exists()


def test_the_edge_ends_first_then_the_pages_then_the_scheduler_which_has_time_for_its_drain(options, monkeypatch):
    monkeypatch.setenv("FORGE_DRAIN_SECONDS", "600")
    recorder = Recorder(monkeypatch)
    with running_stack(options):
        pass
    order = {program.name: program.order for program in recorder.programs}
    others = {name: at for name, at in order.items() if name not in ("edge", "web", "scheduler")}
    assert order["edge"] > order["web"] > order["scheduler"] > max(others.values())
    (scheduler,) = [program for program in recorder.programs if program.name == "scheduler"]
    assert scheduler.stop_seconds >= 600 + 8 + 5
    assert recorder.patience_seconds > scheduler.stop_seconds
