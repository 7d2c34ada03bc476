"""Settings that every service has."""

import pytest
from pydantic import ValidationError

from services.chassis.config import ChassisSettings


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
