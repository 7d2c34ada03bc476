"""What the environment says of the edge, and what is made of it."""

import re
import socket

import pytest

from forge_cli.edge_rules import EdgeRules, names_of


def is_served(rules, host):
    return re.fullmatch(rules.hosts_pattern, host) is not None


def test_an_installation_that_is_told_nothing_goes_by_local_names_and_addresses():
    rules = EdgeRules.of({}, "127.0.0.1")
    assert rules == EdgeRules()
    for host in ("localhost", "Localhost:8080", "x.localhost", "localhost.", "127.0.0.1:1", "[::1]", "192.168.1.2:80"):
        assert is_served(rules, host), host
    for host in (
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "",
        "localhost:",
        "a,localhost",
        "x@1.2.3.4",
    ):
        assert not is_served(rules, host), host


def test_the_name_it_listens_on_is_one_of_its_names():
    assert is_served(EdgeRules.of({}, "GPU-Box.internal"), "gpu-box.internal:8080")
    assert names_of("10.0.0.1") == names_of("::1") == names_of("127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_serves_everybody_goes_by_the_name_of_the_machine(host, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU-Box.internal")
    assert {"gpu-box", "gpu-box.local"} <= set(names_of(host))


def test_names_that_are_given_replace_the_others_and_addresses_stay():
    rules = EdgeRules.of({"FORGE_ALLOWED_HOSTS": " forge.example.org, *.forge.example.org ,"}, "127.0.0.1")
    assert is_served(rules, "forge.example.org")
    assert is_served(rules, "a.b.forge.example.org:443")
    assert is_served(rules, "127.0.0.1")
    assert not is_served(rules, "localhost")
    assert not is_served(rules, "forgeXexample.org")
    assert is_served(EdgeRules.of({"FORGE_ALLOWED_HOSTS": "*"}, "127.0.0.1"), "anything.example")


@pytest.mark.parametrize(
    "name", ["https://forge.example", "forge.example:80", "a b", "*example", "a.*.b", ".*", "(a)", "a/b"]
)
def test_a_host_that_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match=r"FORGE_ALLOWED_HOSTS.*without scheme and port"):
        EdgeRules.of({"FORGE_ALLOWED_HOSTS": name}, "127.0.0.1")


def test_origins_are_taken_as_they_stand():
    rules = EdgeRules.of({"FORGE_CORS_ORIGINS": "https://app.example, http://localhost:3000,"}, "127.0.0.1")
    assert rules.cors_origins == ("https://app.example", "http://localhost:3000")
    assert re.fullmatch(rules.origins_pattern, "https://app.example")
    assert not re.fullmatch(rules.origins_pattern, "https://appXexample")


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example", "https://", "https://app.example/", "https://*.example", "https://u@app.example",
     "https://app.example:443", "http://app.example:0", "http://app.example:x", "ftp://app.example", "https://a?b"],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(origin):
    with pytest.raises(ValueError, match=r"FORGE_CORS_ORIGINS.*https://HOST"):
        EdgeRules.of({"FORGE_CORS_ORIGINS": origin}, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FORGE_TRUSTED_PROXIES", "-1"),
        ("FORGE_TRUSTED_PROXIES", "11"),
        ("FORGE_MAX_CONNECTIONS", "many"),
        ("FORGE_MAX_CONNECTIONS", "1"),
        ("FORGE_EDGE_MEMORY_MIB", "1.5"),
        ("FORGE_EDGE_MEMORY_MIB", "٣٠٠"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}: must be a whole number"):
        EdgeRules.of({name: value}, "127.0.0.1")


def test_numbers_are_taken():
    found = EdgeRules.of(
        {"FORGE_TRUSTED_PROXIES": "1", "FORGE_MAX_CONNECTIONS": "", "FORGE_EDGE_MEMORY_MIB": "512"}, "::1"
    )
    assert (found.trusted_proxies, found.max_connections, found.memory_mib) == (1, EdgeRules.max_connections, 512)
