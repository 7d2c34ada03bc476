"""Snippets: each kind parses, and does what it should with what it is answered."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from services.catalog.domain import Pin
from services.catalog.domain.snippets import KEY_PLACEHOLDER, KINDS, Selection, base_url_of, faults, kinds_named
from services.chassis.config import REPOSITORY
from tests.unit.catalog.snippet_bench import (
    ANY,
    CALLING,
    CURLING,
    IMAGE,
    KEY,
    NODE,
    PINNED,
    SHELL,
    Bench,
    javascript_body,
    python_body,
    sent,
    text_of,
    url,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_kinds_are_those_of_the_contract_in_its_order() -> None:
    contract = (REPOSITORY / "proto/forge/catalog/v1/snippet.proto").read_text()
    comment = " ".join(re.findall(r"//(.*)", contract))
    listed = re.search(r"One of: (.*?)\.", comment)
    assert listed
    assert [kind.name for kind in KINDS] == re.split(r",\s+", listed[1])
    languages = re.search(r"colour it as: (.*?)\.", comment)
    assert languages
    assert {kind.language for kind in KINDS} == set(languages[1].split(", "))
    assert len({kind.filename for kind in KINDS}) == len(KINDS)


def test_an_unknown_kind_is_answered_with_the_kinds_there_are() -> None:
    assert kinds_named("") == KINDS
    assert faults("", "") == faults("curl", "https://forge.test") == []
    (wrong,) = faults("pyton", "")
    assert wrong.field == "kind"
    assert wrong.description.startswith("'pyton' is no kind (did you mean 'python'?); there are: env, gitignore, ")


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("", "https://YOUR_FORGE_HOST"),
        ("https://forge.test", "https://forge.test"),
        ("https://forge.test/v1/", "https://forge.test"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://example.test/forge/v1", "https://example.test/forge"),
    ],
)
def test_a_base_url_loses_the_version_and_the_slash_at_its_end(address: str, base: str) -> None:
    assert faults("", address) == []
    assert base_url_of(address) == base


@pytest.mark.parametrize(
    "address",
    [
        *(
            "forge.test",
            "ftp://forge.test",
            "/v1",
            "https://",
            "https:///v1",
            "https://user:secret@forge.test",
            "https://a?b",
            "https://a#b",
        ),
        *(
            "https://a b",
            " https://a",
            "https://a\n",
            "https://a:0",
            "https://a:port",
            "https://a/'",
            "https://a/$(b)",
            "javascript:1",
        ),
    ],
)
def test_a_base_url_that_is_none_is_named(address: str) -> None:
    assert [wrong.field for wrong in faults("", address)] == ["base_url"]
    assert [wrong.field for wrong in faults("?", address)] == ["kind", "base_url"]
    assert "secret" not in faults("", address)[0].description


@pytest.mark.parametrize("selection", [ANY, PINNED, replace(PINNED, base_url=base_url_of(""))])
@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_every_kind_parses_in_its_language(bench: Bench, kind: str, selection: Selection) -> None:
    text = text_of(kind, selection)
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$|\n\n\n\n", text, re.MULTILINE)
    match kinds_named(kind)[0].language:
        case "shell":
            checked = bench.run(text, "bash", "-n")
            assert (checked.returncode, checked.stderr) == (0, "")
        case "python":
            compile(text, kind, "exec")
        case "javascript" if NODE:
            (bench.home / "it.js").write_text(text)
            assert bench.run("", NODE, "--check", "it.js").returncode == 0
        case "yaml":
            for manifest in yaml.safe_load_all(text):
                kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_target_is_only_named_where_it_is_pinned() -> None:
    for kind in ("env", "curl", "grpc"):
        assert "H200" in text_of(kind, PINNED)
        assert "eu-north2" in text_of(kind, PINNED)
        assert "gpu_type" not in text_of(kind, ANY).lower()
        assert "region" not in text_of(kind, ANY).lower()
    only_region = text_of("env", replace(ANY, pin=Pin(None, "eu-north2")))
    assert "FORGE_REGION=eu-north2" in only_region
    assert "FORGE_GPU_TYPE" not in only_region


@pytest.mark.parametrize("selection", [ANY, PINNED])
def test_an_env_file_means_the_same_to_a_shell_and_to_a_reader(bench: Bench, selection: Selection) -> None:
    text = text_of("env", selection)
    read = dict(shlex.split(line)[0].split("=", 1) for line in text.splitlines())
    assert read["FORGE_API_BASE"] == "https://forge.test"
    assert read["FORGE_API_KEY"] == KEY_PLACEHOLDER
    assert (read["FORGE_API_ROUTE"], read["MODEL_OR_FAMILY_SLUG"]) == ("/v1/inference/toy", "toy")
    assert (read.get("FORGE_GPU_TYPE"), read.get("FORGE_REGION")) == (selection.pin.gpu_type, selection.pin.region)
    shell = bench.run(f"set -a\n{text}env", key=None).stdout.splitlines()
    assert {f"{name}={value}" for name, value in read.items()} <= set(shell)


def test_the_rules_for_git_hide_keys_and_show_the_example(bench: Bench) -> None:
    (bench.home / ".gitignore").write_text(text_of("gitignore"))
    bench.run("git init -q . 2>/dev/null")
    for name, ignored in ((".env", True), (".env.local", True), (".env.example", False), ("main.py", False)):
        assert (bench.run("", "git", "check-ignore", name).returncode == 0) == ignored


def test_setup_exports_the_selection_and_forgets_an_earlier_pin(bench: Bench) -> None:
    shown = bench.run(f"{text_of('setup', ANY)}env", FORGE_GPU_TYPE="B200", FORGE_API_BASE="http://old").stdout
    assert "FORGE_GPU_TYPE" not in shown
    assert "FORGE_API_BASE=https://forge.test\n" in shown
    assert f"FORGE_API_KEY={KEY}\n" in shown
    assert "FORGE_GPU_TYPE=H200\n" in bench.run(f"{text_of('setup', PINNED)}env", key=None).stdout
    placeholder = text_of("setup", replace(ANY, base_url=base_url_of("")))
    assert "FORGE_API_BASE=http://mine\n" in bench.run(f"{placeholder}env", FORGE_API_BASE="http://mine").stdout


@pytest.mark.parametrize("kind", CALLING)
@pytest.mark.parametrize(
    ("key", "base", "named"),
    [
        (None, "https://forge.test", "FORGE_API_KEY"),
        ("", "https://forge.test", "FORGE_API_KEY"),
        (KEY_PLACEHOLDER, "https://forge.test", "FORGE_API_KEY"),
        (KEY, "https://YOUR_FORGE_HOST/v1", "FORGE_API_BASE"),
    ],
)
def test_nothing_is_called_without_a_key_and_an_address(
    bench: Bench, kind: str, key: str | None, base: str, named: str
) -> None:
    commands = {"python": sys.executable, "javascript": NODE}
    command = commands.get(kinds_named(kind)[0].language, "bash")
    if command is None:
        pytest.skip("node is not here")
    bench.curl({})
    bench.command("grpcurl", "")
    more = {"PYTHONPATH": str(REPOSITORY / "gen")} if kind == "python_grpc" else {}
    done = bench.run(text_of(kind), command, key=key, FORGE_API_BASE=base, **more)
    assert done.returncode == 1
    assert re.fullmatch(rf"Set {named} to [^\n]+\.\n", done.stderr)
    assert done.stdout == ""
    assert not list(bench.home.glob("*.arguments"))


def test_a_snippet_pasted_into_a_shell_leaves_it_as_it_was(bench: Bench) -> None:
    for kind in SHELL:
        if kind != "setup":
            done = bench.run(f"{text_of(kind)}\necho still here; echo $-", key=None)
            assert "still here" in done.stdout
            assert "e" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("base", ["https://a.test", "https://a.test/", "https://a.test/v1", "https://a.test/v1/"])
@pytest.mark.parametrize("kind", CURLING)
def test_an_address_is_understood_with_and_without_its_version(bench: Bench, kind: str, base: str) -> None:
    bench.curl({}, code=22)
    bench.run(text_of(kind), FORGE_API_BASE=base)
    assert url(bench.arguments()).startswith(f"https://a.test/v1/{'inference' if kind == 'curl' else 'model'}")
    bench.run(text_of(kind))
    assert url(bench.arguments()).startswith("https://forge.test/v1/")


def test_checks_ask_for_the_pin_unless_the_environment_names_another(bench: Bench) -> None:
    bench.curl({}, code=22)
    for kind in ("check", "reliability", "estimate"):
        for selection, environment, pin in (
            (PINNED, {}, ("H200", "eu-north2")),
            (ANY, {}, ("", "")),
            (PINNED, {"FORGE_GPU_TYPE": "B200", "FORGE_REGION": ""}, ("B200", "")),
        ):
            bench.run(text_of(kind, selection), **environment)
            query = sent(bench.arguments())
            assert query == {"model_version": "v1", "gpu_type": pin[0], "region": pin[1]}


@pytest.mark.parametrize("kind", CURLING)
def test_what_the_api_refuses_with_is_shown_and_ends_the_snippet(bench: Bench, kind: str) -> None:
    bench.curl({"code": 5, "message": "there is no model"}, code=22)
    done = bench.run(text_of(kind))
    assert done.returncode == 1
    assert "there is no model" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_check_says_what_is_free(bench: Bench) -> None:
    target = {"gpu_type": "H200", "region": "eu-north2", "simulated": True, "total_slots": 2, "free_slots": 1}
    route = {"method": "POST", "path": "/v1/inference/toy", "model_version": "v1"}
    bench.curl({"route": route, "targets": [target]})
    assert bench.run(text_of("check")).stdout == (
        "The key is good. POST /v1/inference/toy runs version v1 on:\n  H200 eu-north2: 1 of 2 slots free, simulated\n"
    )


def test_reliability_prints_the_best_targets_as_exports(bench: Bench) -> None:
    fastest = {"gpu_type": "B 200", "region": "us", "request_ms_p50": 22_000, "estimated_warm_request_cost_usd": 0.0437}
    cheapest = {"gpu_type": "RTX", "region": "eu"}
    found = {
        "slug": "toy",
        "model_version": "v1",
        "reliability_status": "supported",
        "supported_rows": 2,
        "total_rows": 6,
        "status_counts": {"supported": 2, "pending": 4},
        "fastest_supported_target": fastest,
        "lowest_cost_supported_target": cheapest,
    }
    bench.curl(found)
    assert bench.run(text_of("reliability")).stdout.splitlines() == [
        "toy v1: supported",
        "supported: 2 of 6 targets",
        "status_counts: 4 pending, 2 supported",
        "fastest, 22.0 s, $0.0437 a request:",
        "  export FORGE_GPU_TYPE='B 200' FORGE_REGION=us",
        "cheapest:",
        "  export FORGE_GPU_TYPE=RTX FORGE_REGION=eu",
    ]
    bench.curl({**found, "lowest_cost_supported_target": fastest})
    assert "fastest and cheapest, 22.0 s" in bench.run(text_of("reliability")).stdout


def test_reliability_without_a_supported_target_names_the_probe(bench: Bench) -> None:
    counts = {"status_counts": {"pending": 1, "failed": 2, "stale": 0}, "failure_reason_counts": {"OUT_OF_MEMORY": 2}}
    rows = {"reliability_status": "pending", "supported_rows": 0, "total_rows": 3}
    bench.curl({"slug": "toy", "model_version": "v1", "fastest_supported_target": None, **rows, **counts})
    done = bench.run(text_of("reliability"))
    assert done.returncode == 1
    assert "status_counts: 2 failed, 1 pending\nfailure_reason_counts: 2 OUT_OF_MEMORY\n" in done.stdout
    assert 'POST /v1/probes {"slug": "toy", "model_version": "v1"}' in done.stderr


def test_an_estimate_is_of_the_example_or_of_a_file(bench: Bench) -> None:
    target = {"gpu_type": "L40S", "region": "eu", "request_ms": 61_000, "estimated_warm_request_cost_usd": 0.03}
    cold = {**target, "estimated_first_cold_request_cost_usd": 0.04}
    bench.curl({"selected_target": cold, "fastest_target": target})
    done = bench.run(text_of("estimate"))
    assert done.stdout.splitlines() == [
        "selected: L40S eu, 61.0 s, $0.0300 warm, $0.0400 with a cold start",
        "fastest: L40S eu, 61.0 s, $0.0300 warm",
    ]
    assert "-G" in bench.arguments()
    bench.run(text_of("estimate"), FORGE_REQUEST_BODY_FILE="my body.json")
    arguments = bench.arguments()
    assert arguments[-2:] == ["--data-binary", "@my body.json"]
    assert "-G" not in arguments


@pytest.mark.parametrize(("keep", "kept"), [("", False), ("false", False), ("true", True), ("1", True), ("YES", True)])
def test_a_warm_up_keeps_warm_only_when_asked_to(bench: Bench, keep: str, kept: bool) -> None:
    target = {"gpu_type": "H200", "region": "eu-north2", "startup_ms": 4200, "was_cold_start": True, "keep_warm": kept}
    bench.curl({"slug": "toy", "version": "v1", **target})
    done = bench.run(text_of("warm_up"), FORGE_KEEP_WARM=keep)
    assert "toy v1 on H200 eu-north2: warm, started for this call\nstartup_ms=4200\n" in done.stdout
    assert ("until it is stopped" in done.stdout) == kept
    pin = {"gpu_type": "H200", "region": "eu-north2"}
    assert json.loads(bench.arguments()[-1]) == {"version": "v1", "run_until_stopped": kept, **pin}
    bench.run(text_of("warm_up", ANY))
    assert json.loads(bench.arguments()[-1]) == {"version": "v1", "run_until_stopped": False}


def test_the_status_says_where_a_version_is_warm(bench: Bench) -> None:
    runtime = {"gpu_type": "H200", "region": "eu", "status": "warm", "busy": False, "keep_warm": False}
    warm = {**runtime, "start_message": "", "idle_release_seconds": 12.4}
    starting = {**runtime, "status": "starting", "keep_warm": True, "start_message": "loading weights"}
    bench.curl({"slug": "toy", "version": "v1", "status": "warm", "runtimes": [warm, starting]})
    assert bench.run(text_of("status")).stdout.splitlines() == [
        "toy v1: warm",
        "  H200 eu: warm, freed in 12 s if nothing comes",
        "  H200 eu: starting, kept warm, loading weights",
    ]
    assert sent(bench.arguments()) == {"version": "v1"}


def test_curl_sends_the_example_as_it_stands_or_a_file(bench: Bench) -> None:
    bench.curl({"id": "rnd_1", "status": "succeeded", "output": {"video_url": "/v1/renders/rnd_1/video"}})
    done = bench.run(text_of("curl"))
    assert json.loads(done.stdout)["id"] == "rnd_1"
    assert done.stderr == "Its video: https://forge.test/v1/renders/rnd_1/video\n"
    assert json.loads((bench.home / "curl.stdin").read_text()) == PINNED.body
    assert f"Authorization: Bearer {KEY}" in bench.arguments()
    bench.run(text_of("curl"), FORGE_REQUEST_BODY_FILE="body.json")
    assert bench.arguments()[-1] == "@body.json"


@pytest.mark.parametrize(
    ("timeout", "wait"), [("", "590"), ("600", "590"), ("60", "50"), ("20", "10"), ("1", "0"), ("9000", "3600")]
)
def test_the_api_answers_before_curl_gives_up(bench: Bench, timeout: str, wait: str) -> None:
    bench.curl({}, code=22)
    bench.run(text_of("curl"), FORGE_REQUEST_TIMEOUT_SECONDS=timeout)
    arguments = bench.arguments()
    assert url(arguments).endswith(f"?wait_seconds={wait}")
    assert arguments[arguments.index("--max-time") + 1] == (timeout or "600")


def test_curl_says_where_to_watch_a_render_that_outlasts_it(bench: Bench) -> None:
    for status, told in (("running", "It is running and goes on. Its events: https://forge.test/e"), ("failed", "no")):
        bench.curl({"id": "rnd_1", "status": status, "events_url": "/e", "error": {"message": "no"}})
        done = bench.run(text_of("curl"))
        assert done.returncode == 1
        assert told in done.stderr
        assert json.loads(done.stdout)["status"] == status


def test_the_bodies_of_programs_are_the_example(bench: Bench) -> None:
    for kind in ("python", "python_grpc"):
        assert python_body(text_of(kind)) == PINNED.body
        assert IMAGE in text_of(kind)
    assert javascript_body(text_of("javascript")) == PINNED.body


def test_grpcurl_is_given_an_address_with_its_port(bench: Bench) -> None:
    bench.command("grpcurl", f'[[ " $* " != *" @ "* ]] || cat >> "{bench.home}/stdin"; echo \'{{"id": "rnd_1"}}\'')
    for base, address, plaintext in (
        ("https://forge.test/v1", "forge.test:443", "false"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", "true"),
        ("http://[::1]", "[::1]:80", "true"),
    ):
        assert bench.run(text_of("grpc"), FORGE_API_BASE=base).returncode == 0
        arguments = bench.arguments("grpcurl")
        assert arguments.count(address) == 3
        assert arguments.count(f"-plaintext={plaintext}") == 3
    assert arguments[-3:] == ['{"render_id": "rnd_1"}', "[::1]:80", "forge.scheduler.v1.RenderService/WatchRender"]
    bodies = json.JSONDecoder().raw_decode((bench.home / "stdin").read_text())
    assert bodies[0] == {"input": dict(PINNED.body)}


def test_docker_runs_a_host_from_an_image_of_ones_own(bench: Bench) -> None:
    bench.command("docker", "")
    refused = bench.run(text_of("docker"), key=None)
    assert refused.returncode != 0
    assert "FORGE_IMAGE" in refused.stderr
    assert "forge start toy --version v1" in bench.run(text_of("docker"), key=None, FORGE_IMAGE="my/forge:1").stdout
    arguments = bench.arguments("docker")
    assert arguments[0] == "run"
    assert arguments[arguments.index("--gpus") + 1] == "all"
    assert arguments[-7:] == ["my/forge:1", "forge", "up", "--host", "0.0.0.0", "--port", "8080"]


def test_kubernetes_runs_one_host_with_a_gpu_behind_a_service() -> None:
    volume, deployment, service = yaml.safe_load_all(text_of("kubernetes"))
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert (deployment["apiVersion"], deployment["kind"], deployment["spec"]["replicas"]) == (
        "apps/v1",
        "Deployment",
        1,
    )
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert [each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each] == ["forge"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "api"}
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
    assert deployment["metadata"]["annotations"] == {"forge/model": "toy", "forge/model-version": "v1"}


def test_nebius_creates_an_endpoint_with_a_token_of_its_own(bench: Bench) -> None:
    bench.command("openssl", "echo c0ffee")
    bench.command("nebius", 'case "$*" in *"subnet list"*) echo subnet-1 ;; *by-name*) echo endpoint-1 ;; esac')
    assert "FORGE_IMAGE" in bench.run(text_of("nebius"), key=None).stderr
    secrets = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "pass word"}
    done = bench.run(text_of("nebius"), key=None, FORGE_IMAGE="cr/forge:1", **secrets)
    assert done.stdout == "export ENDPOINT_ID=endpoint-1 AUTH_TOKEN=c0ffee\n"
    arguments = bench.arguments("nebius")
    assert arguments[:6] == ["vpc", "subnet", "list", "--format", "jsonpath={.items[0].metadata.id}", "ai"]
    options = arguments[arguments.index("create") + 1 : arguments.index("create") + 25]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    assert {value for name, value in pairs if name == "--env"} == {
        "FORGE_ENDPOINT_MODEL=toy",
        "FORGE_ENDPOINT_VERSION=v1",
        "FORGE_ENDPOINT_TOKEN=c0ffee",
        "FORGE_WEIGHTS=hub",
    }
    assert {name: value for name, value in pairs if name != "--env"} == {
        "--name": "toy-v1",
        "--image": "cr/forge:1",
        "--container-port": "8000",
        "--auth": "token",
        "--registry-username": "me",
        "--registry-password": "pass word",
        "--token": "c0ffee",
        "--subnet-id": "subnet-1",
    }
    bench.run(text_of("nebius"), key=None, FORGE_IMAGE="cr/forge:1", AUTH_TOKEN="mine")
    arguments = bench.arguments("nebius")
    assert "--registry-username" not in arguments
    assert "mine" in arguments
