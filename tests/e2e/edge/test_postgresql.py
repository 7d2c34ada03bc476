"""A whole platform that moves from files into PostgreSQL, and goes on there."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.platforms import SVD, Platform, on_one_slot, running
from tests.postgresql import PostgresqlServer, a_postgresql

pytestmark = pytest.mark.only_full_size

PASSWORD = "canary-of-the-database"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with a_postgresql() as running_server:
        yield running_server


@pytest.fixture(scope="module")
def platform(server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("on-postgresql")
    with running(on_one_slot(root, {"FORGE_WEIGHTS": "random"})) as subject:
        with subject.client() as client:
            made = client.post(f"/v1/inference/{SVD}", json=subject.small(SVD)).json()
        assert made["status"] == "succeeded"
        subject.environment = {
            **subject.environment,
            "FORGE_DATABASE_URL": server.url.replace("postgres:@", f"postgres:{PASSWORD}@"),
        }
        refused = subject.forge("migrate", "--move", check=False)
        assert "already runs" in refused.stderr
        subject.stop()
        subject.forge("migrate", "--move")
        before = digests(subject.home / "state")
        subject.start()
        yield subject
        assert digests(subject.home / "state") == before, "the files are as they were"


def digests(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_what_was_made_before_the_move_is_there_and_what_is_made_after_it_too(platform: Platform) -> None:
    with platform.client() as client:  # with the key from before
        (before,) = client.get("/v1/renders").json()["renders"]
        assert len(client.get(before["output"]["video_url"]).content) > 1000
        assert len(client.get(f"/v1/renders/{before['id']}/events").text.splitlines()) >= before["last_seq"]
        assert client.get(f"/v1/renders/{before['id']}/receipt").status_code == 200
        assert {event["outcome"] for event in client.get("/v1/audit-events").json()["events"]} == {"OK"}
        made = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        assert made["output"]["sha256"] == before["output"]["sha256"]
        assert [render["id"] for render in client.get("/v1/renders").json()["renders"]] == [made["id"], before["id"]]
    text = platform.forge("migrate", "--json", check=False).stderr
    assert "already runs" in text


def test_the_operator_makes_accounts_there(platform: Platform) -> None:
    secret = platform.forge("accounts", "create", "ann").stdout.strip()
    with platform.client(secret) as client:
        assert client.get("/v1/renders").json()["renders"] == []
    assert "PostgreSQL 1" in platform.forge("doctor", check=False).stdout


def test_the_password_is_in_no_file_and_no_worker_has_it(platform: Platform) -> None:
    with platform.client() as client:
        client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).raise_for_status()
    files = [path for path in platform.home.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
    workers = platform.processes("services.inference_worker")
    assert platform.worker_pids() & {worker.pid for worker in workers}
    assert [worker for worker in workers if PASSWORD in str(worker.environ())] == []
    (scheduler,) = platform.processes("services.scheduler")
    assert PASSWORD in str(scheduler.environ())
