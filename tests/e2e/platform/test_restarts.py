"""What happens when a process is killed while nothing runs."""

import httpx
import psutil
import pytest

SVD = "stabilityai-stable-video-diffusion"


@pytest.mark.parametrize(
    "module",
    [
        "services.catalog",
        "services.billing_estimate",
        "services.accounts",
        "services.scheduler",
        "services.web",
        "envoy.yaml",
    ],
)
def test_a_killed_service_is_back_within_seconds_and_nothing_is_lost(platform, rest, eventually, module):
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    assert render["status"] == "succeeded"
    before = platform.processes(module)
    assert before, module
    for process in before:
        process.kill()
    psutil.wait_procs(before, timeout=10)
    eventually(lambda: platform.processes(module) and platform.is_healthy(), seconds=20, what=f"return of {module}")

    def answers(path):
        try:
            return rest.get(path).status_code == 200
        except httpx.TransportError:
            return False

    # The edge may not have noticed the loss when the process is back but not yet listening.
    for path in (f"/v1/renders/{render['id']}", render["output"]["video_url"]):
        eventually(lambda path=path: answers(path), seconds=20, what=f"an answer to {path}")
    assert rest.get(f"/v1/renders/{render['id']}").json() == render
    again = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    assert again["status"] == "succeeded", again


def test_a_restarted_scheduler_keeps_the_workers_it_had(platform, rest, eventually):
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    workers = platform.worker_pids()
    assert workers
    for process in platform.processes("services.scheduler"):
        process.kill()
    eventually(lambda: not platform.is_healthy(), seconds=20, what="the loss")
    eventually(platform.is_healthy, seconds=20, what="health")
    body = platform.small(SVD, gpu_type=render["target"]["gpu_type"])
    again = rest.post(f"/v1/inference/{SVD}", json=body).json()
    assert again["was_cold_start"] is False
    assert platform.worker_pids() == workers


def test_a_killed_idle_worker_costs_a_cold_start_and_nothing_else(platform, rest, eventually):
    rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD))
    for process in platform.processes("services.inference_worker"):
        process.kill()
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    assert render["status"] == "succeeded"
