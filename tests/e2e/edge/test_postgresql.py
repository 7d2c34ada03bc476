"""A whole platform whose services keep their tables in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platforms import SVD, Platform, running
from tests.postgresql import PostgresqlServer, a_postgresql

FLEET = "slots:\n  - {gpu_type: B200, region: us-central1, count: 1, simulated: true, memory_gib: 180}\n"
PASSWORD = "canary-of-the-database"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with a_postgresql() as running_server:
        yield running_server


@pytest.fixture(scope="module")
def platform(server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("on-postgresql")
    fleet = root / "fleet.yaml"
    fleet.write_text(FLEET)
    url = server.url.replace("postgres:@", f"postgres:{PASSWORD}@")
    environment = {"FORGE_WEIGHTS": "random", "FORGE_DATABASE_URL": url}
    with running(Platform(root / "home", str(fleet), environment)) as subject:
        yield subject


def files_below(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_what_was_rendered_is_there_after_a_restart_and_nothing_lies_in_files(platform: Platform) -> None:
    with platform.client() as client:
        made = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        assert made["status"] == "succeeded"
    platform.stop()
    platform.start()
    with platform.client() as client:
        found = client.get(f"/v1/renders/{made['id']}").json()
        assert found["output"]["sha256"] == made["output"]["sha256"]
        assert len(client.get(found["output"]["video_url"]).content) > 1000
        assert client.get("/v1/api-keys").json()["api_keys"]
    assert not [path for path in files_below(platform.home) if "sqlite" in path.name]


@pytest.mark.slow
def test_the_operator_makes_accounts_there(platform: Platform) -> None:
    secret = platform.forge("accounts", "create", "ann").stdout.strip()
    with platform.client(secret) as client:
        assert client.get("/v1/renders").json()["renders"] == []
    assert "PostgreSQL 1" in platform.forge("doctor", check=False).stdout


@pytest.mark.slow
def test_the_password_is_in_no_file_and_no_worker_has_it(platform: Platform) -> None:
    with platform.client() as client:
        client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).raise_for_status()
    assert [path for path in files_below(platform.home) if PASSWORD.encode() in path.read_bytes()] == []
    workers = platform.processes("services.inference_worker")
    assert platform.worker_pids() & {worker.pid for worker in workers}
    assert [worker for worker in workers if PASSWORD in str(worker.environ())] == []
    (scheduler,) = platform.processes("services.scheduler")
    assert PASSWORD in str(scheduler.environ())
