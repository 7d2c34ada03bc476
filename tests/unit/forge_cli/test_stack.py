"""Rules of what the platform is started with."""

import socket
from pathlib import Path

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.stack import StackOptions, child_environment, fleet_named, free_ports, running_stack


@pytest.fixture
def options(tmp_path):
    return StackOptions(Home(tmp_path), "127.0.0.1", 0, "pages")


def test_services_get_their_addresses_and_the_home_but_no_key_of_the_client(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    given = {"PATH": "/bin", "FORGE_API_KEY": "secret", "FORGE_WEIGHTS": "weights"}
    child = child_environment(given, options, {"billing-estimate": 15_001})
    assert child["FORGE_BILLING_ESTIMATE_ADDRESS"] == "127.0.0.1:15001"
    assert child["FORGE_HOME"] == str(tmp_path)
    assert child["FORGE_FLEET"] == "pages"
    assert child["FORGE_WEIGHTS"] == str(tmp_path / "weights")
    assert child["PATH"] == "/bin"
    assert "FORGE_API_KEY" not in child


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
