"""The catalogue and the estimates as processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.config import REPOSITORY


def _start(service: str, config_dir: Path, home: Path) -> "subprocess.Popen[str]":
    address = f"FORGE_{service.upper()}_ADDRESS"
    settings = {"FORGE_CONFIG_DIR": str(config_dir), "FORGE_HOME": str(home), address: "127.0.0.1:0"}
    environment = {**os.environ, **settings, "FORGE_PLAINTEXT": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", f"services.{service}"],
        env=environment,
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("service", ["catalog", "billing_estimate"])
def test_a_service_serves_until_it_is_told_to_stop(tmp_path: Path, service: str) -> None:
    with _start(service, REPOSITORY / "config", tmp_path) as process:
        assert process.stderr is not None
        serving = json.loads(process.stderr.readline())
        with grpc.insecure_channel(f"127.0.0.1:{serving['port']}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            health = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert process.returncode == 0, rest


@pytest.mark.parametrize(("service", "file"), [("catalog", "models/x.yaml"), ("billing_estimate", "prices.yaml")])
def test_a_service_with_a_wrong_configuration_ends_with_the_faults_and_no_traceback(
    tmp_path: Path, service: str, file: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("colour: red\n")
    with _start(service, tmp_path, tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == os.EX_CONFIG
    assert f"{tmp_path / file}:1: colour: Extra inputs are not permitted" in errors
    assert "Traceback" not in errors
