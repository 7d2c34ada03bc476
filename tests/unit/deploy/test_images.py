"""The images and the compose file say what the platform needs, and hold it as narrowly as it can be held."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from forge_cli.commands.edge import edge
from forge_cli.commands.endpoint import endpoint
from forge_cli.commands.up import up
from forge_cli.stack import _SERVICES
from services.preflight import settings_part
from tests.deployment import REPOSITORY

DOCKER = REPOSITORY / "deploy" / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_the_dockerfile_is_without_fault():
    said = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("service", [*_SERVICES, "inference-worker"])
def test_each_service_has_an_image_that_starts_it(service):
    found = re.search(rf"^FROM (\w+) AS {service}\nENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found, f"there is no target {service}"
    *_, module = json.loads(found[2])
    assert (REPOSITORY / module.replace(".", "/") / "__main__.py").is_file()
    assert module == f"services.{service.replace('-', '_')}"


def test_the_image_of_the_edge_starts_it():
    found = re.search(r"^FROM service AS edge\nEXPOSE 8080\nENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found
    program, verb, *arguments = json.loads(found[1])
    assert (program, verb) == ("forge", "edge")
    with edge.make_context("edge", arguments) as context:
        assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8080)


def test_the_image_of_an_endpoint_listens_where_its_port_is():
    found = re.search(
        r"^FROM rendering AS endpoint\nEXPOSE (\d+)\nENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE
    )
    assert found
    program, verb, *arguments = json.loads(found[2])
    assert (program, verb) == ("forge", "endpoint")
    with endpoint.make_context("endpoint", [*arguments, "toy"]) as context:
        assert (context.params["host"], context.params["port"]) == ("0.0.0.0", int(found[1]))


def test_no_image_runs_as_root():
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)[1:]
    users: dict[str, bool] = {}
    for stage in stages:
        base, name = re.match(r"(\S+) AS (\S+)", stage).groups()  # pyright: ignore[reportOptionalMemberAccess]
        users[name] = users.get(base, False) or "\nUSER 10001:10001\n" in stage
        if "\nENTRYPOINT" in stage or "\nCMD" in stage:
            assert users[name], f"{name} runs as root"


def test_what_goes_into_an_image_is_there_and_secrets_are_not_among_it():
    let_in = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in let_in if not (REPOSITORY / name).exists()] == []
    assert {"config", "envoy", "gen", "docs", "README.md", "requirements.lock"} <= set(let_in)
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    assert ignored.index("**/.env") > ignored.index("!deploy")


def test_compose_gives_forge_settings_that_it_knows_and_starts_it(compose):
    forge = compose["services"]["forge"]
    known = set(settings_part()["names"])
    others = {"HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert set(forge["environment"]) - known <= others
    program, verb, *arguments = forge["command"]
    assert (program, verb) == ("forge", "up")
    with up.make_context("up", arguments, resilient_parsing=False) as context:
        assert isinstance(context, click.Context)
        assert context.params["host"] == "0.0.0.0"
    assert forge["build"]["target"] in re.findall(r" AS (\S+)", DOCKERFILE.read_text())
    assert (DOCKER / forge["build"]["context"] / forge["build"]["dockerfile"]).is_file()


def test_compose_has_no_passwords_of_its_own_and_asks_for_those_of_the_example(compose):
    text = (DOCKER / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?\}", text))
    example = re.findall(r"^(\w+)=(.*)$", (DOCKER / "example.env").read_text(), re.MULTILINE)
    assert {name for name, _ in example} == needed
    assert all(value == "" for _, value in example)
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET", name) or re.fullmatch(r"\$\{\w+:\?\}", str(value)), name


def test_compose_holds_every_container_narrowly_and_pins_its_image(compose):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert name == "forge" or re.search(r":[\w.-]*\d[\w.-]*$", service["image"]), f"{name} has no version"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    assert compose["services"]["forge"]["read_only"] is True
    assert list(compose["volumes"]) == ["forge-home", "tables", "objects"]


def test_the_objects_of_compose_are_kept_under_the_keys_that_forge_has(compose, tmp_path):
    objects, forge = compose["services"]["objects"], compose["services"]["forge"]
    (script,) = objects["command"]
    script = script.replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    said = subprocess.run(
        ["/bin/sh", "-c", script.replace("exec weed", "echo weed")],
        env={"OBJECTS_SECRET": "a-secret"},
        capture_output=True,
        text=True,
        check=True,
    )
    (identity,) = json.loads((tmp_path / "identities.json").read_text())["identities"]
    assert identity["credentials"] == [
        {"accessKey": forge["environment"]["AWS_ACCESS_KEY_ID"], "secretKey": "a-secret"}
    ]
    assert (tmp_path / "identities.json").stat().st_mode & 0o077 == 0
    known = subprocess.run([BIN / "weed", "help", "server"], capture_output=True, text=True, check=False)
    flags = set(re.findall(r"(?<= )-([\w.]+)", said.stdout.replace("-logtostderr=true", "")))
    assert flags >= {"s3.config", "master.telemetry"}
    assert [flag for flag in flags if f"  -{flag} " not in f"{known.stdout}{known.stderr} ".replace("\n", " \n")] == []


def test_compose_with_gpus_changes_only_what_gpus_need(compose):
    more = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())
    assert set(more) == {"services"}
    assert set(more["services"]) == {"forge"} <= set(compose["services"])
    assert set(more["services"]["forge"]) == {"environment", "deploy"}
