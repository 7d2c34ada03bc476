"""Rules of forge doctor: it finds what is wrong, says what to do, hides and changes nothing, and shows no secret."""

import ast
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forge_cli.__main__ import forge
from forge_cli.certificates import EDGE, write_certificates
from forge_cli.doctor import configuration, contents, installation, machine, packages, running
from forge_cli.doctor.finding import Finding, broken, examined, well
from forge_cli.doctor.ground import Ground, Said
from forge_cli.home import Home
from services.preflight import settings_part
from tests.platforms import REPOSITORY

SOUND: dict[str, Any] = {
    "settings": {"names": ["FORGE_LEASE_SECONDS", "FORGE_WEIGHTS"], "faults": []},
    "models": {"versions": [{"slug": "toy", "version": "v1", "weights_repository": "maker/Toy-1"}], "faults": []},
    "prices": {"faults": []},
    "fleet": {"name": "local", "slots": [{"gpu_type": "CPU", "region": "local", "device": "cpu"}], "faults": []},
    "encoder": {"bytes": 1622, "faults": []},
}


class Known(Ground):
    """A ground whose services say what a test says."""

    services: dict[str, Any] = SOUND  # pyright: ignore[reportIncompatibleVariableOverride] — no program is asked


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as a platform leaves it."""
    made = tmp_path / "home"
    for folder in ("", "run", "logs", "state", "secrets", "tls"):
        (made / folder).mkdir(mode=0o700)
    for file in ("api-key", "secrets/key-pepper"):
        (made / file).write_text("forge_local_canary")
        (made / file).chmod(0o600)
    return made


@pytest.fixture
def ground(home: Path) -> Callable[..., Ground]:
    """The home with an environment."""

    def made(**environment: str) -> Ground:
        return Known(Home(home), 8080, environment)

    return made


def states(findings: Iterable[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def told(findings: Iterable[Finding], state: str = "fail") -> str:
    """What is wrong, with its remedies."""
    found = [finding for finding in findings if finding.state == state]
    assert all(finding.remedy for finding in found)
    return "\n".join(f"{finding.text} → {finding.remedy}" for finding in found)


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_a_check_that_breaks_is_a_finding_and_hides_no_other(ground):
    def breaks(_ground: Ground) -> Iterable[Finding]:
        yield well("first", "found before it broke")
        raise ImportError("no module named torch")

    found = list(examined(ground(), {"first": breaks, "second": lambda _: [well("second", "fine")]}))
    assert states(found) == ["pass", "fail", "pass"]
    assert "ImportError: no module named torch" in found[1].text


def test_a_home_as_a_platform_leaves_it_is_well(ground):
    checks = (installation.place, installation.secrets, installation.links, installation.clock, contents.databases)
    found = [finding for check in checks for finding in check(ground())]
    assert set(states(found)) == {"pass"}, found


def test_a_home_that_is_not_there_yet_is_well_where_it_can_be_made(tmp_path):
    (found,) = installation.place(Ground(Home(tmp_path / "a" / "b"), 8080, {}))
    assert found.state == "pass"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    assert "no directory" in told(installation.place(Ground(Home(tmp_path / "file"), 8080, {})))


@pytest.mark.parametrize(("name", "mode"), [("api-key", 0o640), ("secrets/key-pepper", 0o604), ("secrets", 0o750)])
def test_a_secret_that_others_can_read_must_be_mended(ground, home, name, mode):
    (home / name).chmod(mode)
    wrong = told(installation.secrets(ground()))
    assert f"{home / name} can be reached by others (mode {mode:04o})" in wrong
    assert f"chmod {'700' if name == 'secrets' else '600'} {home / name}" in wrong


def test_links_are_told_and_dead_ones_must_be_mended(ground, home, tmp_path):
    (tmp_path / "disk").mkdir()
    (home / "objects").symlink_to(tmp_path / "disk")
    assert states(installation.links(ground())) == ["pass"]
    (home / "secrets" / "link-secret").symlink_to(tmp_path / "disk")
    (home / "weights").symlink_to(tmp_path / "gone")
    assert "weights leads to" in told(installation.links(ground()))
    assert "link-secret lies elsewhere" in told(installation.links(ground()), "warn")


def test_a_clock_that_is_behind_what_was_written_must_be_set(ground, home):
    log = home / "logs" / "catalog.log"
    log.write_text("")
    os.utime(log, (time.time() + 3600, time.time() + 3600))
    assert "was written 60 min from now" in told(installation.clock(ground()))


@pytest.fixture(params=["stopped", "running", "killed"])
def database(request: pytest.FixtureRequest, home: Path):
    """A database as it lies there while nobody writes it, while somebody does, and after that one was killed."""
    path = home / "state" / "catalog.sqlite3"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE numbers (number INTEGER)")
    writer.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(10_000)])
    writer.commit()
    if request.param == "killed":
        kept = {name: (home / "state" / name).read_bytes() for name in (path.name, f"{path.name}-wal")}
        writer.close()
        for name, content in kept.items():
            (home / "state" / name).write_bytes(content)
    if request.param == "stopped":
        writer.close()
    yield path
    writer.close()


def test_databases_are_read_without_leaving_a_trace(ground, home, database):
    before = everything_in(home)
    (found,) = contents.databases(ground())
    assert (found.state, "holds together" in found.text) == ("pass", True)
    assert everything_in(home) == before


def test_a_damaged_database_must_be_mended(ground, home):
    path = home / "state" / "scheduler.sqlite3"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE numbers (number INTEGER)")
        made.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(10_000)])
    made.close()
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)
    (home / "state" / "accounts.sqlite").write_bytes(b"no database at all" * 100)
    wrong = told(contents.databases(ground()))
    assert "scheduler.sqlite3 is damaged" in wrong
    assert "accounts.sqlite is damaged" in wrong
    assert "from a backup" in wrong


def test_a_server_of_databases_must_answer(ground, home, monkeypatch):
    monkeypatch.setattr(Known, "services", SOUND | {"database": {"server": "PostgreSQL 18.4", "faults": []}})
    (found,) = contents.databases(ground())
    assert (found.state, "PostgreSQL 18.4 answers" in found.text) == ("pass", True)
    monkeypatch.setattr(Known, "services", SOUND | {"database": {"faults": ["cannot be used: connection refused"]}})
    wrong = told(contents.databases(ground()))
    assert "connection refused" in wrong
    assert "FORGE_DATABASE_URL" in wrong


def test_a_bucket_must_take_objects(ground, home, monkeypatch):
    assert list(contents.objects(ground())) == []
    monkeypatch.setattr(Known, "services", SOUND | {"objects": {"bucket": "s3://forge/home", "faults": []}})
    (found,) = contents.objects(ground())
    assert (found.state, "s3://forge/home takes objects" in found.text) == ("pass", True)
    fault = "FORGE_OBJECTS_URL: bucket forge at http://127.0.0.1:1 is not there: make it, or name another"
    monkeypatch.setattr(Known, "services", SOUND | {"objects": {"bucket": "s3://forge", "faults": [fault]}})
    wrong = told(contents.objects(ground()))
    assert "bucket forge at http://127.0.0.1:1 is not there" in wrong
    assert "mend FORGE_OBJECTS_URL" in wrong


def test_a_cluster_must_answer_and_should_have_the_machines_of_the_fleet(ground, home, monkeypatch):
    assert list(contents.cluster(ground())) == []
    sound = {"address": "head:6379", "machines": 3, "slots": [{"target": "H200@north", "there": 2, "all": 2}]}
    monkeypatch.setattr(Known, "services", SOUND | {"cluster": sound})
    (found,) = contents.cluster(ground())
    assert (found.state, "head:6379 has 3 machines, with room for every slot" in found.text) == ("pass", True)
    sound["slots"].append({"target": "L40S@south", "there": 1, "all": 4})
    assert "slots without one: 3 of L40S@south" in told(contents.cluster(ground()), "warn")
    away = {"faults": ["RAY_ADDRESS: no cluster answers at head:6379"]}
    monkeypatch.setattr(Known, "services", SOUND | {"cluster": away})
    wrong = told(contents.cluster(ground()))
    assert wrong.startswith("no cluster answers at head:6379")
    assert "mend RAY_ADDRESS" in wrong


def test_certificates_are_looked_at_with_the_time_they_end(ground, home):
    write_certificates(home / "tls", [EDGE])
    assert states(contents.certificates(ground())) == ["pass"]
    write_certificates(home / "tls", [EDGE], now=datetime.now(UTC) - timedelta(days=380))
    assert "edge.pem ends on" in told(contents.certificates(ground()), "warn")
    write_certificates(home / "tls", [EDGE], now=datetime.now(UTC) + timedelta(days=3))
    assert "edge.pem is valid only from" in told(contents.certificates(ground()))
    (home / "tls" / "edge.pem").write_text("garbage")
    assert "is no certificate" in told(contents.certificates(ground()))
    (home / "tls" / "edge.key").unlink()
    assert "cannot be read" in told(contents.certificates(ground()))


def test_a_misspelled_setting_is_told_with_the_one_that_was_meant(ground):
    found = list(configuration.environment(ground(FORGE_LEASE_SECOND="30", FORGE_LEASE_SECONDS="30")))
    assert states(found) == ["warn"]
    assert told(found, "warn") == "nothing reads FORGE_LEASE_SECOND → did you mean FORGE_LEASE_SECONDS?"
    assert states(configuration.environment(ground(FORGE_GPU_TYPE="H200", FORGE_API_KEY="fk"))) == ["pass"]


def test_settings_that_are_wrong_must_be_mended_whoever_reads_them(ground):
    wrong = told(configuration.environment(ground(FORGE_DRAIN_SECONDS="soon", FORGE_MAX_CONNECTIONS="few")))
    assert "FORGE_DRAIN_SECONDS" in wrong
    assert "FORGE_MAX_CONNECTIONS" in wrong


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bFORGE_[A-Z][A-Z_]*[A-Z]\b", text))


def test_the_settings_of_this_command_are_all_that_it_reads():
    """Every text of the source that is such a name and nothing else."""
    texts = {
        node.value
        for file in (REPOSITORY / "forge_cli").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and file.parent.name != "doctor"
    }
    assert {text for text in texts if names_in(text) == {text}} == configuration.OWN_SETTINGS


def test_the_settings_of_snippets_are_all_that_they_read():
    folder = REPOSITORY / "services" / "catalog" / "adapters" / "snippets"
    named = names_in("\n".join(file.read_text("utf-8") for file in folder.iterdir() if file.is_file()))
    assert named - configuration.OWN_SETTINGS - set(settings_part()["names"]) == configuration.SNIPPET_SETTINGS


def test_services_that_cannot_be_imported_are_one_finding_and_hide_no_other(ground, monkeypatch):
    monkeypatch.setattr(Known, "services", {})
    monkeypatch.setattr(Known, "services_said", Said(1, "", "Traceback …\nImportError: libfoo.so.1"), raising=False)
    here = ground(FORGE_DRAIN_SECONDS="soon", FORGE_LEASE_SECOND="30")
    wrong = told([*packages.services(here), *configuration.environment(here), *configuration.files(here)])
    assert wrong.count("\n") == 1
    assert "ImportError: libfoo.so.1 → install what is pinned" in wrong
    assert "FORGE_DRAIN_SECONDS" in wrong


def test_each_part_of_the_configuration_is_told(ground, monkeypatch):
    assert states(configuration.files(ground())) == ["pass"] * 3
    faulty = {**SOUND, "prices": {"faults": ["prices.yaml:3: cost: must be greater than 0"]}}
    monkeypatch.setattr(Known, "services", faulty)
    found = list(configuration.files(ground()))
    assert states(found) == ["pass", "fail", "pass"]
    assert "prices.yaml:3" in told(found)


def test_weights_are_looked_for_where_workers_look(ground, tmp_path):
    for setting in ("", "demo", "random", "hub"):
        assert states(configuration.weights(ground(FORGE_WEIGHTS=setting))) == ["pass"]
    assert "no directory" in told(configuration.weights(ground(FORGE_WEIGHTS=str(tmp_path / "none"))))
    folder = tmp_path / "weights"
    folder.mkdir()
    assert "toy v1 has no weights" in told(configuration.weights(ground(FORGE_WEIGHTS=str(folder))), "warn")
    (folder / "Toy-1").mkdir()
    assert states(configuration.weights(ground(FORGE_WEIGHTS=str(folder)))) == ["pass"]


def test_no_key_is_ever_shown(ground, home):
    found = list(configuration.client(ground(FORGE_API_KEY="forge_local_canary")))
    assert states(found) == ["pass"]
    assert "with a key" in found[0].text
    (home / "cli.toml").write_text('api_keys = "forge_local_canary"')
    found += configuration.client(ground())
    assert "api_keys" in told(found)
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("torch", "driver", "state", "what"),
    [
        ({"cuda": None, "devices": []}, Said(None, "", "nvidia-smi: No such file"), "pass", "no NVIDIA device"),
        ({"cuda": "12.8", "devices": ["NVIDIA H200"]}, Said(0, "NVIDIA H200, 570.1\n", ""), "pass", "driver is 570.1"),
        ({"cuda": None, "devices": []}, Said(0, "NVIDIA H200, 570.1\n", ""), "fail", "built for the CPU"),
        ({"cuda": "13.0", "devices": []}, Said(0, "NVIDIA H200, 470.1\n", ""), "fail", "cannot use it"),
    ],
)
def test_devices_are_what_torch_and_the_driver_agree_on(torch, driver, state, what, monkeypatch):
    monkeypatch.setattr(packages, "_device_files", list)
    monkeypatch.setattr(packages, "_is_on_the_bus", lambda: False)
    (found,) = packages._devices(torch, driver)
    assert (found.state, what in found.text) == (state, True), found


def test_other_packages_than_pinned_are_told_apart_by_who_needs_them(ground, tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "click==0.1  # via forge-platform\npytest==0.1\nsix-seven==6.7\npydantic==2.0 ; python_version > '3'\n"
    )
    monkeypatch.setattr(packages, "_LOCK", lock)
    found = list(packages.pins(ground()))
    assert states(found) == ["fail", "warn"]
    assert "click " in found[0].text
    assert "pydantic " in found[0].text
    assert "pytest " in found[1].text
    assert "six-seven missing, not 6.7" in found[1].text


def test_packages_for_development_need_not_be_there(ground, tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"click=={version('click')}\nsix-seven==6.7\n")
    monkeypatch.setattr(packages, "_LOCK", lock)
    (found,) = packages.pins(ground())
    assert found.state == "pass"
    assert "1 pinned packages are installed; 1 for development are not" in found.text


def test_what_another_system_needs_is_not_needed_here():
    needed = packages._needed()
    assert {"click", "torch", "psycopg-binary", "botocore"} <= needed
    assert not {"pywin32", "tzdata", "pytest"} & needed


def test_a_port_that_is_taken_is_told_unless_it_is_the_homes_own(ground, home, monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = Known(Home(home), server.getsockname()[1], {})
        assert "cannot be had" in told(machine.port(taken), "warn")
        monkeypatch.setattr(machine, "address_of", lambda _home: f"http://127.0.0.1:{taken.port}")
        assert states(machine.port(taken)) == ["pass"]


def test_a_platform_that_is_gone_is_not_one_that_runs(ground, home):
    (home / "run" / "up.lock").write_text("999999999")
    (home / "run" / "api-base").write_text("http://127.0.0.1:1\n")
    assert running.pid_of(Home(home)) is None
    assert states(running.platform(ground())) == ["pass"]
    (home / "run" / "up.lock").write_text(str(os.getpid()))  # a number that another program has got since
    assert running.pid_of(Home(home)) is None


def test_a_platform_that_is_not_healthy_or_older_is_told(ground, home, monkeypatch):
    monkeypatch.setattr(running, "pid_of", lambda _home: 4711)
    (home / "run" / "api-base").write_text("http://127.0.0.1:1\n")
    (home / "run" / "release").write_text("0.0.1 (abc)\n")
    found = list(running.platform(ground()))
    assert "forge up (pid 4711) at http://127.0.0.1:1 is not healthy" in told(found)
    assert "what runs is 0.0.1 (abc)" in told(found, "warn")


def test_the_whole_round_says_what_it_found_and_leaves_no_trace(home, monkeypatch):
    before = everything_in(home)
    done = CliRunner().invoke(forge, ["doctor", "--home", str(home), "--json"], env={"FORGE_WEIGHTZ": "demo"})
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert "canary" not in done.stdout
    assert everything_in(home) == before
    by_check = {finding["check"]: finding["state"] for finding in found["findings"]}
    assert by_check["encoder"] == by_check["envoy"] == by_check["config"] == by_check["torch"] == "pass"
    assert [finding["remedy"] for finding in found["findings"] if "FORGE_WEIGHTZ" in finding["text"]] == [
        "did you mean FORGE_WEIGHTS?"
    ]
    assert done.exit_code == (0 if found["is_well"] else 1)


def test_what_must_be_mended_ends_with_1_and_its_remedy(home, monkeypatch):
    monkeypatch.setattr("forge_cli.commands.doctor._CHECKS", {"disk": lambda _: [broken("disk", "full", "make room")]})
    done = CliRunner().invoke(forge, ["doctor", "--home", str(home)])
    assert done.exit_code == 1
    assert "FAIL disk          full" in done.stdout
    assert "→ make room" in done.stdout
    assert "1 must be mended" in done.stdout
