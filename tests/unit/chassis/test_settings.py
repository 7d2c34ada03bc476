"""Settings that every service has."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from services.chassis.config import REPOSITORY, ChassisSettings, SettingsInvalid, read_settings


@pytest.mark.parametrize(
    "url",
    [
        "mysql://forge:canary@db/forge",
        "canary",
        "postgresql://forge:a@canary:b@db:54x/forge",
        "postgresql+psycopg://forge:canary@db/forge",
        "",
    ],
)
def test_a_wrong_address_of_the_database_is_told_of_without_quoting_it(url, monkeypatch):
    monkeypatch.setenv("FORGE_DATABASE_URL", url)
    with pytest.raises(ValidationError, match="must be postgresql://") as caught:
        ChassisSettings()
    assert "canary" not in str(caught.value)


def test_the_address_of_the_database_is_not_shown(monkeypatch):
    monkeypatch.setenv("FORGE_DATABASE_URL", "postgresql://forge:canary@db:5432/forge?sslmode=verify-full")
    settings = ChassisSettings()
    assert settings.database_url is not None
    assert "canary" in settings.database_url.get_secret_value()
    assert "canary" not in repr(settings)


def test_every_variable_that_is_wrong_is_named_and_what_it_says_is_not_repeated(monkeypatch):
    monkeypatch.setenv("FORGE_OBJECTS_URL", "s3://key:canary@bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "canary")
    monkeypatch.setenv("FORGE_SHUTDOWN_GRACE_SECONDS", "canary")
    with pytest.raises(SettingsInvalid) as caught:
        read_settings(ChassisSettings)
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "FORGE_OBJECTS_URL",
        "AWS_ENDPOINT_URL",
        "FORGE_SHUTDOWN_GRACE_SECONDS",
    ]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("service", ["accounts", "scheduler", "inference_worker"])
def test_a_process_with_wrong_settings_ends_with_words(service):
    environment = {**os.environ, "FORGE_OBJECTS_URL": "ftp://canary"}
    command = [sys.executable, "-m", f"services.{service}"]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == os.EX_CONFIG
    assert done.stderr == (
        "the configuration is invalid:\n"
        "FORGE_OBJECTS_URL: must be s3://bucket/prefix or file:///folder; leave it out for objects/ in the home\n"
    )
