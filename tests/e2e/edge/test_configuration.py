"""What Envoy itself says of every configuration that can be written."""

import json
import subprocess
from dataclasses import replace

import pytest

from forge_cli import certificates
from forge_cli.edge import EdgeAddresses, envoy_command, write_edge_config
from forge_cli.edge_rules import EdgeRules

SERVICES = ("catalog", "billing-estimate", "accounts", "scheduler", "web")
ADDRESSES = EdgeAddresses(
    "127.0.0.1:0", *(f"service-{number}.internal:71{number:02}" for number in range(len(SERVICES)))
)
RULES = {
    "plain": EdgeRules(),
    "any host": EdgeRules(hosts=("*",)),
    "cors": EdgeRules(cors_origins=("https://app.example", "http://localhost:3000")),
    "proxied": EdgeRules(hosts=("forge.example",), trusted_proxies=2, max_connections=100, memory_mib=256),
}


@pytest.mark.parametrize(
    ("rules", "otlp_endpoint", "has_tls"),
    [
        ("plain", None, False),
        ("any host", None, False),
        ("cors", None, True),
        ("proxied", "http://collector", False),
        ("cors", "http://127.0.0.1:4317", True),
    ],
)
def test_envoy_finds_nothing_wrong_with_what_is_written(rules, otlp_endpoint, has_tls, tmp_path):
    tls_dir = tmp_path / "tls" if has_tls else None
    if tls_dir:
        programs = [certificates.EDGE, *map(certificates.service, SERVICES)]
        certificates.write_certificates(tls_dir, programs)
    config = write_edge_config(tmp_path, ADDRESSES, rules=RULES[rules], tls_dir=tls_dir, otlp_endpoint=otlp_endpoint)
    said = subprocess.run([*envoy_command(config), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "deprecated" not in said.stderr


@pytest.mark.parametrize("otlp_endpoint", ["https://collector:4317", "collector:4317"])
def test_an_unusable_trace_address_is_refused(otlp_endpoint, tmp_path):
    with pytest.raises(ValueError, match="http://host:port"):
        write_edge_config(tmp_path, ADDRESSES, otlp_endpoint=otlp_endpoint)


def test_a_service_at_several_addresses_is_called_at_each(tmp_path):
    several = replace(ADDRESSES, scheduler="127.0.0.1:7104,[::1]:7105,service-9.internal:7106")
    config = write_edge_config(tmp_path, several)
    (cluster,) = [
        cluster
        for cluster in json.loads(config.read_text())["static_resources"]["clusters"]
        if cluster["name"] == "scheduler"
    ]
    found = [
        endpoint["endpoint"]["address"]["socket_address"]
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    expected = [("127.0.0.1", 7104), ("::1", 7105), ("service-9.internal", 7106)]
    assert [(address["address"], address["port_value"]) for address in found] == expected
    said = subprocess.run([*envoy_command(config), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_an_address_without_a_port_is_refused(tmp_path):
    with pytest.raises(ValueError, match="write host:port"):
        write_edge_config(tmp_path, replace(ADDRESSES, listen="localhost"))
