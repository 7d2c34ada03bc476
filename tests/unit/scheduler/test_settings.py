"""What the scheduler is told by its environment."""

import pytest

from services.chassis.config import SettingsInvalid, read_settings
from services.chassis.strict_yaml import ConfigurationInvalid
from services.scheduler.__main__ import ray_placer
from services.scheduler.config import SchedulerSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    for name in ("RAY_ADDRESS", "FORGE_OBJECTS_URL", "FORGE_PLACER", "FORGE_TLS_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_placer_on_a_cluster_must_be_told_where_that_is_and_where_all_machines_store(monkeypatch):
    with pytest.raises(ConfigurationInvalid) as refused:
        ray_placer(read_settings(SchedulerSettings))
    assert "RAY_ADDRESS: where the Ray cluster is" in str(refused.value)
    assert "FORGE_OBJECTS_URL: workers on other machines store videos too" in str(refused.value)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("FORGE_OBJECTS_URL", "s3://bucket")
    assert ray_placer(read_settings(SchedulerSettings))


@pytest.mark.parametrize("address", ["auto", "host", "http://host:8265", "ray://host", "host:port"])
def test_an_address_that_is_none_of_a_cluster_is_refused_where_one_is_needed(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("FORGE_OBJECTS_URL", "s3://bucket")
    settings = read_settings(SchedulerSettings)  # whoever uses no cluster may have whatever address for other programs
    with pytest.raises(ConfigurationInvalid, match="RAY_ADDRESS"):
        ray_placer(settings)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://head:10001", "ray://[fd00::1]:10001", "head.local:6379"])
def test_addresses_are_those_that_ray_has(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("FORGE_OBJECTS_URL", "s3://bucket")
    assert ray_placer(read_settings(SchedulerSettings))


def test_a_placer_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.setenv("FORGE_PLACER", "cloud")
    with pytest.raises(SettingsInvalid, match="FORGE_PLACER"):
        read_settings(SchedulerSettings)
