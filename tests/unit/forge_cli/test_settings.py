"""Rules of where settings come from."""

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.settings import DEFAULT_API_BASE, Settings, load, normalised


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path)
    found.make()
    return found


def test_without_anything_the_address_is_the_default_and_there_is_no_key(home):
    assert load(home, environment={}) == Settings(DEFAULT_API_BASE, None)


def test_a_flag_beats_the_environment_and_the_environment_beats_the_files(home):
    home.settings_file.write_text('api_base = "http://file:1"\napi_key = "file-key"')
    home.api_base_file.write_text("http://127.0.0.1:9\n")
    environment = {"FORGE_API_BASE": "http://environment:1", "FORGE_API_KEY": "environment-key"}
    assert load(home, api_base="http://flag:1", api_key="flag-key", environment=environment) == Settings(
        "http://flag:1", "flag-key"
    )
    assert load(home, environment=environment) == Settings("http://environment:1", "environment-key")
    assert load(home, environment={}) == Settings("http://file:1", "file-key")


def test_the_platform_that_runs_here_is_found_without_settings(home):
    home.api_base_file.write_text("http://127.0.0.1:9123\n")
    home.api_key_file.write_text("home-key\n")
    assert load(home, environment={}) == Settings("http://127.0.0.1:9123", "home-key")


def test_the_home_key_is_not_sent_to_strangers(home):
    home.api_key_file.write_text("home-key\n")
    assert load(home, api_base="https://elsewhere.example", environment={}).api_key is None
    assert load(home, api_base="http://localhost:8080", environment={}).api_key == "home-key"
    home.api_base_file.write_text("http://192.0.2.7:8080\n")
    assert load(home, api_base="http://192.0.2.7:8080/v1", environment={}).api_key == "home-key"


@pytest.mark.parametrize("given", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_with_a_slash_or_v1(given):
    assert normalised(given) == "http://h:1"


@pytest.mark.parametrize(
    "given", ["localhost:8080", "ftp://h", "http://", "http://h/other", "http://h:port", "http://u:p@h"]
)
def test_an_address_that_cannot_be_used_is_refused_with_the_remedy(given):
    with pytest.raises(CommandFailed) as refused:
        normalised(given)
    assert "http://HOST:PORT" in refused.value.hints[0]


@pytest.mark.parametrize("text", ["api_base = 1", "api_bass = 'x'", "not toml"])
def test_a_settings_file_that_cannot_be_understood_is_named(home, text):
    home.settings_file.write_text(text)
    with pytest.raises(CommandFailed, match=r"cli\.toml"):
        load(home, environment={})


def test_settings_do_not_show_their_key():
    assert "secret" not in repr(Settings("http://h", "secret"))


def test_a_home_holds_one_platform_at_a_time(home):
    with home.locked(), pytest.raises(CommandFailed, match=r"pid \d+"), home.locked():
        pass
    with home.locked():
        pass
