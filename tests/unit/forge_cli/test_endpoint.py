"""forge endpoint: what the platform is started with."""

import os

import pytest
from click.testing import CliRunner

from forge_cli.__main__ import forge
from forge_cli.commands import endpoint

TOKEN = "0" * 64


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What was started, with its environment; nothing runs."""
    found = {}

    def run_platform(options, **_):
        found.update(options=options, environment=dict(os.environ))

    monkeypatch.setattr(endpoint, "run_platform", run_platform)
    for name in ("FORGE_ALLOWED_HOSTS", "FORGE_PUBLIC_CATALOGUE", "FORGE_MODELS"):
        monkeypatch.setenv(name, "")  # so that what the command sets does not stay
        monkeypatch.delenv(name)

    def started(*arguments, **environment):
        given = {"FORGE_HOME": str(tmp_path), "FORGE_ENDPOINT_TOKEN": TOKEN, **environment}
        return CliRunner().invoke(forge, ["endpoint", *arguments], env=given), found

    return started


def test_one_model_is_served_to_the_outside_under_any_name_and_shown_to_nobody(started):
    done, found = started("toy")
    assert done.exit_code == 0, done.output
    assert (found["options"].host, found["options"].port) == ("0.0.0.0", 8000)
    environment = found["environment"]
    assert environment["FORGE_MODELS"] == "toy"
    assert environment["FORGE_ALLOWED_HOSTS"] == "*"
    assert environment["FORGE_PUBLIC_CATALOGUE"] == "false"


def test_what_an_operator_has_set_stays_and_the_model_may_be_named_by_a_variable(started):
    done, found = started(FORGE_ENDPOINT_MODEL="toy", FORGE_ALLOWED_HOSTS="my.example.org")
    assert done.exit_code == 0, done.output
    assert found["environment"]["FORGE_MODELS"] == "toy"
    assert found["environment"]["FORGE_ALLOWED_HOSTS"] == "my.example.org"


def test_without_a_token_or_a_model_nothing_starts(started):
    done, found = started("toy", FORGE_ENDPOINT_TOKEN="")
    assert done.exit_code == 1
    assert "FORGE_ENDPOINT_TOKEN is not set" in done.output
    assert "openssl rand" in done.output
    assert started()[0].exit_code == 2
    assert found == {}
