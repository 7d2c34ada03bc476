"""Rules of the commands for keys and accounts."""

import json

import pytest
from click.testing import CliRunner

from forge_cli.__main__ import forge


def test_a_new_key_may_have_a_rate_limit_of_its_own(run):
    made = json.loads(run("keys", "create", "ci", "--rate", "0.5", "--burst", "3", "--json").stdout)
    assert made["api_key"]["rate_limit"] == {"requests_per_second": 0.5, "burst": 3}
    made = json.loads(run("keys", "create", "ci", "--rate", "2", "--json").stdout)
    assert made["api_key"]["rate_limit"] == {"requests_per_second": 2.0}
    refused = run("keys", "create", "ci", "--burst", "3")
    assert refused.exit_code == 2
    assert "--burst needs --rate" in refused.stderr


def test_the_secret_of_a_rotation_is_the_only_thing_on_stdout(run):
    rotated = run("keys", "rotate", "key_1")
    assert rotated.stdout == "fk_new_secret\n"
    assert "key_2 takes the place of key_1 (laptop), which ends 2030-01-31" in rotated.stderr
    listed = run("keys", "list").stdout
    assert "0.5/s, 3 at once" in listed
    assert "key_2" in listed


def test_an_overlap_is_a_duration_and_may_be_none_at_all(run, platform):
    answer = json.loads(run("keys", "rotate", "key_1", "--overlap", "1h", "--json").stdout)
    assert (answer["api_key"]["replaces"], answer["replaced"]["replaced_by"]) == ("key_1", "key_2")
    run("keys", "rotate", "key_1", "--overlap", "0s")
    run("keys", "rotate", "key_1")
    asked = [(one.HasField("overlap"), one.overlap.seconds) for one in platform.asked]
    assert asked == [(True, 3600), (True, 0), (False, 0)]
    assert run("keys", "rotate", "key_1", "--overlap", "soon").exit_code == 2
    assert run("keys", "create", "x", "--ttl", "0s").exit_code == 2


def test_a_revoked_key_is_shown_as_json_where_that_is_asked_for(run):
    assert json.loads(run("keys", "revoke", "key_1", "--json").stdout)["id"] == "key_1"


@pytest.fixture
def at_home(tmp_path):
    """Runs `forge accounts …` on an installation that has not been used yet, and with a key that no service may see."""
    (tmp_path / "state").mkdir()

    def run_forge(*arguments: str):
        environment = {"FORGE_HOME": str(tmp_path), "FORGE_API_KEY": "fk_secret", "COLUMNS": "200"}
        return CliRunner().invoke(forge, ["accounts", *arguments], env=environment)

    return run_forge


def test_an_account_is_made_once_and_its_secret_is_the_only_thing_on_stdout(at_home, tmp_path):
    made = at_home("create", "studio-b")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("forge_local_")
    assert "studio-b" in made.stderr
    again = at_home("create", "studio-b")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "for one more add --another-key" in again.stderr
    second = json.loads(at_home("create", "studio-b", "--another-key", "--json").stdout)
    assert second["account"] == "studio-b"
    assert second["secret"] != made.stdout.strip()
    assert "studio-b" in at_home("list").stdout
    (account,) = json.loads(at_home("list", "--json").stdout)["accounts"]
    assert (account["working_keys"], account["keys"], account["last_used_at"]) == (2, 2, None)
    assert not (tmp_path / "api-key").exists()  # that file is the default account's


def test_a_name_that_is_none_is_told_with_what_one_is(at_home):
    refused = at_home("create", "Studio B")
    assert refused.exit_code == 1
    assert "must have 1 to 63 lower-case letters" in refused.stderr


@pytest.mark.parametrize("url", ["", "postgresql://db/forge"])
@pytest.mark.parametrize("command", [["accounts", "create", "a"], ["migrate"], ["migrate", "--move"]])
def test_a_directory_without_an_installation_stays_as_it_is(tmp_path, monkeypatch, command, url):
    monkeypatch.setenv("FORGE_DATABASE_URL", url)
    refused = CliRunner().invoke(forge, [*command, "--home", str(tmp_path / "typo")])
    assert refused.exit_code == 1
    assert "there is no installation in" in refused.stderr
    assert list(tmp_path.iterdir()) == []
