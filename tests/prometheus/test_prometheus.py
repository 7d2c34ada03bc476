"""A real Prometheus with our configuration finds everything of a running platform that dashboard and rules ask for."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from forge_cli.stack import free_ports
from tests.deployment import PROMETHEUS, RULES, expressions, names_asked_for, names_recorded
from tests.platforms import SKYREELS, Platform, eventually, running
from tests.receivers import receiving

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Debian's package prometheus: make prometheus installs it"
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("platform") / "home"
    with running(Platform(home, "pages", {"FORGE_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true"})) as subject:
        yield subject


@pytest.fixture(scope="module")
def prometheus(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus with our files, which looks every second, and somebody to ask it."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(PROMETHEUS / "rules", folder / "rules")
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("15s", "1s")
    (folder / "prometheus.yml").write_text(text.replace("/var/lib/forge", str(platform.home)))
    (port,) = free_ports(1)
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                eventually(lambda: _is_ready(client), what="Prometheus")
                yield client
        finally:
            process.terminate()


def test_promtool_finds_nothing_wrong(tmp_path: Path):
    subprocess.run(["promtool", "check", "rules", *map(str, RULES)], check=True)
    subprocess.run(["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")], check=True)


def test_every_target_is_up(prometheus):
    def all_up():
        targets = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
        up = {target["labels"]["service"] for target in targets if target["health"] == "up"}
        return up if len(up) == len(targets) >= 7 else None

    assert {"edge", "scheduler", "traces", "web"} <= eventually(all_up, what="all targets being up")


def test_every_metric_that_is_asked_for_is_there(platform, prometheus):
    with receiving() as receiver, platform.client() as rest:
        rest.post("/v1/webhooks", json={"url": receiver.url, "statuses": ["succeeded"]}).raise_for_status()
        body = platform.small(SKYREELS)
        paused = rest.post(f"/v1/inference/{SKYREELS}", json=body | {"pause_after_step": 1}).json()
        with rest.stream("GET", f"/v1/renders/{paused['id']}/events") as watched:  # paused, it goes on to be watched
            next(watched.iter_lines())
        rest.post(f"/v1/renders/{paused['id']}/continue", json={}).raise_for_status()
        for seed in range(2, 7):  # estimates are compared once they rest on runs
            rest.post(f"/v1/inference/{SKYREELS}", json=body | {"seed": seed}).raise_for_status()
        eventually(lambda: receiver.messages, what="a message")
    wanted = names_asked_for() - names_recorded()

    def missing():
        return wanted - set(prometheus.get("/api/v1/label/__name__/values").json()["data"])

    eventually(lambda: not missing(), what=f"all but {missing()}")


def test_every_expression_is_understood(prometheus):
    for text in expressions():
        asked = text.replace("$model", ".*")
        answer = prometheus.get("/api/v1/query", params={"query": asked})
        assert answer.status_code == 200, (asked, answer.text)


def test_a_figure_leads_to_the_trace_of_a_render(platform, prometheus):
    with platform.client() as rest:
        render = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()

    def exemplars():
        asked = {"query": "forge_render_duration_seconds_bucket", "start": "0", "end": "9999999999"}
        found = prometheus.get("/api/v1/query_exemplars", params=asked).json()["data"]
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    eventually(lambda: render["trace_id"] in exemplars(), what="an exemplar")


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
