"""The Helm chart renders, says nothing that Kubernetes or the services do not know, and holds its pods narrowly."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from forge_cli.certificates import EDGE, WORKER, service
from forge_cli.stack import _SERVICES
from services.preflight import settings_part
from services.scheduler.adapters.yaml_fleet import read_fleet
from tests.deployment import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "forge"
HELM = Path(sys.executable).with_name("helm")
OF_OTHERS = {"Certificate", "RayCluster"}
"""Kinds that cert-manager and KubeRay bring, whose schemas Kubernetes does not have."""

Manifest = dict[str, Any]


def helm(*values: str, verb: str = "template") -> "subprocess.CompletedProcess[str]":
    name = ["demo"] if verb == "template" else []
    command = [HELM, verb, *name, CHART, "--namespace", "forge"]
    for value in ("image.repository=registry.example.org:5000/forge", *values):
        command += ["--set-json" if value.endswith(("]", "}")) else "--set", value]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*values: str) -> list[Manifest]:
    done = helm(*values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


EVERYTHING = (
    "schedulers.replicas=3",
    'edge.allowedHosts=["forge.example.org"]',
    'edge.corsOrigins=["https://app.example.org"]',
    'edge.from=[{"namespaceSelector": {}}]',
    'image.pullSecrets=["registry"]',
    "objects.endpoint=https://objects.example.org",
    "objects.publicEndpoint=https://objects.example.org",
    "huggingface.secret.name=hub",
    'settings={"FORGE_LEASE_SECONDS": 20, "FORGE_PROBE_ROUND_SECONDS": 0}',
    'ray.nodeSelector={"pool": "gpus"}',
    'fleet=[{"gpu_type": "H200", "region": "eu-north2", "count": 16, "memory_gib": 141, "machines": 2},'
    ' {"gpu_type": "L40S", "region": "eu-north1", "count": 3, "machines": 3}]',
)
ELSEWHERE = ("ray.create=false", "ray.address=ray://ray.example.org:10001", "schedulers.replicas=1")


@pytest.fixture(scope="module", params=[(), EVERYTHING, ELSEWHERE], ids=["as it is", "everything", "Ray elsewhere"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(*request.param)


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return rendered(*EVERYTHING)


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def templates(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Every pod's template."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        yield manifest["spec"]["template"]
    for cluster in of_kind(manifests, "RayCluster"):
        yield cluster["spec"]["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["spec"]["workerGroupSpecs"])


def component(template: Mapping[str, Any]) -> str:
    return template["metadata"]["labels"]["app.kubernetes.io/component"]


def environment(template: Manifest) -> dict[str, Any]:
    (container,) = template["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_helm_finds_no_fault():
    done = helm(verb="lint")
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


def test_kubernetes_knows_all_of_it(manifests: list[Manifest]):
    for manifest in manifests:
        if manifest["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    for template in templates(manifests):  # those of a Ray cluster as well
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x", **template["metadata"]},
            "spec": template["spec"],
        }
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_no_pod_may_more_than_it_must(manifests: list[Manifest]):
    for template in templates(manifests):
        pod = template["spec"]
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
            image, _, tag = container["image"].rpartition(":")
            assert image.startswith("registry.example.org:5000/forge/")
            assert tag not in ("", "latest")


def test_no_secret_is_written_down(manifests: list[Manifest]):
    assert not of_kind(manifests, "Secret")
    for template in templates(manifests):
        for name, value in environment(template).items():
            if re.search(r"TOKEN|SECRET|PASSWORD|DATABASE_URL|ACCESS_KEY", name):
                assert "secretKeyRef" in value, name


def test_secrets_are_where_they_are_needed_and_nowhere_else(everything: list[Manifest]):
    having: dict[str, set[str]] = {}
    for template in templates(everything):
        for name, value in environment(template).items():
            if isinstance(value, dict) and "secretKeyRef" in value:
                having.setdefault(name, set()).add(component(template))
    assert having.pop("FORGE_DATABASE_URL") == set(_SERVICES) - {"web"}
    assert having.pop("RAY_AUTH_TOKEN") == {"scheduler", "ray-head", "ray-machine"}
    assert having == {name: {"scheduler"} for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")}
    kept = {
        component(template): volume["secret"]["items"][0]["key"]
        for template in templates(everything)
        for volume in template["spec"]["volumes"]
        if volume["name"] == "secrets"
    }
    assert kept == {"accounts": "key-pepper", "web": "link-secret"}


def test_each_variable_is_one_that_somebody_reads(manifests: list[Manifest]):
    known = {*settings_part()["names"], "FORGE_ALLOWED_HOSTS", "FORGE_CORS_ORIGINS", "FORGE_TRUSTED_PROXIES"}
    for template in templates(manifests):
        unknown = {name for name in environment(template) if name.startswith(("FORGE_", "AWS_REGION"))} - known
        assert not unknown


def test_every_service_is_found_where_it_listens(manifests: list[Manifest]):
    offered = {
        manifest["metadata"]["name"]: manifest["spec"]["ports"][0]["port"] for manifest in of_kind(manifests, "Service")
    }
    for template in templates(manifests):
        for name in _SERVICES if not component(template).startswith("ray-") else ():
            host, _, port = environment(template)[f"FORGE_{name.upper().replace('-', '_')}_ADDRESS"].rpartition(":")
            if name == component(template):
                ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
                assert (host, int(port)) == ("0.0.0.0", ports["service"])
            else:
                assert offered[host] == int(port)


def test_every_pod_is_behind_a_policy_that_lets_in_whom_it_serves(manifests: list[Manifest]):
    policies = {
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: policy["spec"]
        for policy in of_kind(manifests, "NetworkPolicy")
    }
    there = {component(template): template for template in templates(manifests)}
    assert set(policies) == set(there)
    for name, policy in policies.items():
        assert policy["policyTypes"] == ["Ingress"]
        (rule,) = policy["ingress"]
        ports = {port["name"] for port in there[name]["spec"]["containers"][0]["ports"]}
        assert {port["port"] for port in rule.get("ports", [])} <= ports
        assert name == "edge" or rule["from"]


def test_what_there_is_more_than_one_of_keeps_some_while_machines_are_drained(everything: list[Manifest]):
    budgets = {budget["metadata"]["name"]: budget["spec"] for budget in of_kind(everything, "PodDisruptionBudget")}
    assert set(budgets) == {"demo-scheduler", "demo-edge"}
    workloads = {m["metadata"]["name"]: m["spec"] for m in of_kind(everything, "Deployment", "StatefulSet")}
    for name, budget in budgets.items():
        assert budget["selector"] == workloads[name]["selector"]
    (scaler,) = of_kind(everything, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "demo-edge"
    assert "replicas" not in workloads["demo-edge"]  # those are the scaler's to say


def test_programs_prove_who_they_are_with_the_names_that_they_know_each_other_by(everything: list[Manifest]):
    made = {
        found["spec"]["secretName"]: (found["spec"]["uris"], found["spec"]["dnsNames"])
        for found in of_kind(everything, "Certificate")
    }
    programs = [EDGE, WORKER, *map(service, _SERVICES)]
    assert made == {f"demo-{p.name}-tls": ([p.spiffe_id], [p.host_name]) for p in programs}
    for template in templates(everything):
        (tls,) = [volume["secret"] for volume in template["spec"]["volumes"] if volume["name"] == "tls"]
        assert tls["secretName"] in made
        name = tls["secretName"].removeprefix("demo-").removesuffix("-tls")
        assert [item["path"] for item in tls["items"]] == ["ca.pem", f"{name}.pem", f"{name}.key"]


async def test_each_slot_has_a_machine_of_the_cluster(everything: list[Manifest], tmp_path: Path):
    (fleet,) = of_kind(everything, "ConfigMap")
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet["data"]["fleet.yaml"])
    slots = (await read_fleet(str(file), REPOSITORY / "config", on_cluster=True)).slots
    (cluster,) = of_kind(everything, "RayCluster")
    offered: dict[str, int] = {}
    for group in cluster["spec"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        region = environment(group["template"])["RAY_NODE_REGION"]
        offered[region] = offered.get(region, 0) + group["replicas"] * limits["nvidia.com/gpu"]
    wanted: dict[str, int] = {}
    for slot in slots:
        region = dict(slot.requirements.labels)["ray.io/availability-region"]
        wanted[region] = wanted.get(region, 0) + 1
    assert offered == wanted == {"eu-north2": 16, "eu-north1": 3}


def test_the_release_of_ray_is_the_one_that_the_scheduler_has(everything: list[Manifest]):
    (cluster,) = of_kind(everything, "RayCluster")
    assert f"ray=={cluster['spec']['rayVersion']} " in (REPOSITORY / "requirements.lock").read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("image.repository=",), "image.repository"),
        (("edge.replica=3",), "Additional property replica is not allowed"),
        (("objects.url=file:///tmp",), "objects.url"),
        (("ray.create=false",), "ray.address"),
        (("settings.LEASE=3",), "settings"),
        (('fleet=[{"gpu_type": "H200", "region": "x", "count": 3, "machines": 2}]',), "not shared out evenly"),
        (('fleet=[{"gpu_type": "H200", "region": "x", "count": 3}]',), "each line needs machines"),
        (("fleet=[]",), "fleet"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: tuple[str, ...], words: str):
    done = helm(*values)
    assert done.returncode == 1
    assert words in done.stderr


def test_metrics_are_shown_where_annotations_say(everything: list[Manifest]):
    for template in templates(everything):
        if annotations := template["metadata"].get("annotations"):
            shown = json.loads(environment(template)["FORGE_METRICS_ADDRESSES"])
            assert shown == {component(template): f"0.0.0.0:{annotations['prometheus.io/port']}"}
