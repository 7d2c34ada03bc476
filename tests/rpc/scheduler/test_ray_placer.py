"""Workers on the machines of a real Ray cluster, which asks for a token."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from services.chassis.identity import service_caller
from services.chassis.trust import PLAIN_LOOPBACK
from services.scheduler.adapters import ray_link
from services.scheduler.adapters.grpc_workers import GrpcWorkers
from services.scheduler.adapters.ray_placer import RayPlacer, passed_on
from services.scheduler.domain.errors import MachineAbsent, RuntimeStartFailed
from services.scheduler.domain.fleet import Requirements, Slot, Target
from services.scheduler.ports import WorkerProcess
from tests.ray_clusters import RayCluster, RayNode, ray_cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 30.0


def slot(region: str, number: int = 0) -> Slot:
    requirements = Requirements((("ray.io/region", region),), (("GPU", 1.0),))
    return Slot(f"{region}-{number}", Target("H200", region), "cpu", requirements=requirements)


NORTH, SOUTH = slot("north"), slot("south")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A machine with two devices in the north, and one with one in the south."""
    with ray_cluster() as cluster:
        for region, gpus in (("north", 2), ("south", 1)):
            home = str(cluster.folder / region)
            environment = {"FORGE_HOME": home, "FORGE_DATABASE_URL": "postgresql://forge:canary@db/forge"}
            cluster.add_node({"ray.io/region": region}, gpus=gpus, environment=environment)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cluster.environment.items():
                patch.setenv(name, value)
            yield cluster


def a_placer(cluster: RayCluster, logs: Path, address: str = "") -> RayPlacer:
    environment = {
        "FORGE_WEIGHTS": "random",
        "FORGE_PLAINTEXT": "true",
        "FORGE_OBJECTS_URL": (cluster.folder / "objects").as_uri(),
    }
    return RayPlacer(
        address or cluster.address,
        logs=logs,
        environment=environment,
        certificates=None,
        launch_seconds=PATIENCE_SECONDS,
        stop_seconds=10,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def placer(cluster, tmp_path_factory) -> AsyncIterator[RayPlacer]:
    async with a_placer(cluster, tmp_path_factory.mktemp("logs")) as placer:
        await until_regions(placer, {"north", "south"})
        yield placer


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_left(cluster) -> AsyncIterator[None]:
    """Each test ends what it began."""
    yield
    await eventually(lambda: not workers(cluster) and not hosts(cluster))


def workers(cluster: RayCluster) -> list[psutil.Process]:
    return cluster.processes("services.inference_worker")


def hosts(cluster: RayCluster) -> list[psutil.Process]:
    return cluster.processes("ray::WorkerHost")


async def eventually(holds: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := holds()):
            await asyncio.sleep(0.05)
        return found


async def regions(placer: RayPlacer) -> AsyncIterator[set[str]]:
    async for machines in placer.machines():
        yield {machine.labels.get("ray.io/region", "") for machine in machines} - {""}


async def until_regions(placer: RayPlacer, wanted: set[str]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for found in regions(placer):
            if found == wanted:
                return


async def worker_at(process: WorkerProcess) -> str:
    async with GrpcWorkers(service_caller("scheduler"), PLAIN_LOOPBACK) as called:
        return (await called.state(process.address)).worker_id


async def test_a_worker_is_on_a_machine_with_the_labels_of_its_slot(cluster, placer):
    for each, node in ((NORTH, cluster.nodes[0]), (SOUTH, cluster.nodes[1]), (slot("north", 1), cluster.nodes[0])):
        process = await placer.launch(f"rt_{each.id}", each)
        assert process.address.startswith(f"{node.address}:")
        assert process.pid is None
        assert await worker_at(process) == f"rt_{each.id}"
    devices = {(each.environ()["FORGE_HOME"], each.environ()["CUDA_VISIBLE_DEVICES"]) for each in workers(cluster)}
    assert devices == {
        (f"{cluster.folder}/north", "0"),
        (f"{cluster.folder}/north", "1"),
        (f"{cluster.folder}/south", "0"),
    }
    for each in (NORTH, SOUTH, slot("north", 1)):
        await placer.terminate(f"rt_{each.id}", WorkerProcess("", None))
    assert not workers(cluster)


async def test_a_worker_knows_no_secret_of_the_cluster_or_of_services(cluster, placer):
    process = await placer.launch("rt_1", SOUTH)
    (worker,) = workers(cluster)
    environment = worker.environ()
    assert environment["FORGE_WEIGHTS"] == "random"
    assert cluster.token not in environment.values()
    assert not [name for name in environment if name.startswith("RAY_")]
    assert "FORGE_DATABASE_URL" not in environment
    await placer.terminate("rt_1", process, kindly=False)
    assert not workers(cluster)


async def test_what_is_passed_on_names_no_path_of_this_machine():
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_CA_BUNDLE": "/etc/ssl/ca.pem",
        "FORGE_WORKER_CHECKPOINT_SECONDS": "1",
        "FORGE_DATABASE_URL": "postgresql://forge:canary@db/forge",
        "FORGE_HOME": "/here",
        "HF_HOME": "/here/too",
        "HF_TOKEN": "hub",
        "RAY_AUTH_TOKEN": "canary",
    }
    assert set(passed_on(environment)) == {"AWS_ACCESS_KEY_ID", "FORGE_WORKER_CHECKPOINT_SECONDS", "HF_TOKEN"}


async def test_the_device_of_a_worker_that_was_ended_is_free_again(cluster, placer):
    for number in range(2):
        process = await placer.launch(f"rt_{number}", SOUTH)
        await placer.terminate(f"rt_{number}", process)
        await placer.terminate(f"rt_{number}", process)  # which changes nothing


async def test_a_worker_ends_when_its_actor_is_killed(cluster, placer):
    process = await placer.launch("rt_1", NORTH)
    (worker,) = workers(cluster)
    for host in hosts(cluster):
        host.kill()
    await eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    await placer.terminate("rt_1", process)


async def test_an_actor_ends_when_its_worker_does(cluster, placer):
    await placer.launch("rt_1", NORTH)
    (worker,) = workers(cluster)
    worker.kill()
    await eventually(lambda: not hosts(cluster))


async def test_a_slot_that_no_machine_has_is_refused_within_seconds(placer):
    async with asyncio.timeout(10):
        with pytest.raises(MachineAbsent, match="its machine went away"):
            await placer.launch("rt_1", slot("west"))


async def test_a_machine_whose_devices_others_have_is_waited_for_so_long_and_no_longer(placer, monkeypatch):
    process = await placer.launch("rt_1", SOUTH)
    monkeypatch.setattr(placer, "_launch_seconds", 1.0)
    with pytest.raises(MachineAbsent, match="other work of the Ray cluster has its machines"):
        await placer.launch("rt_2", SOUTH)
    await placer.terminate("rt_1", process)


async def test_a_worker_that_ends_at_its_start_is_told_of_with_its_machine_and_leaves_nothing(
    cluster, placer, monkeypatch
):
    monkeypatch.setitem(placer._environment, "FORGE_WORKER_THREADS", "none")
    with pytest.raises(RuntimeStartFailed, match=rf"{cluster.nodes[1].address} ended with code 78") as failed:
        await placer.launch("rt_1", SOUTH)
    assert not isinstance(failed.value, MachineAbsent)
    await eventually(lambda: not hosts(cluster))


async def test_a_launch_that_is_given_up_leaves_nothing(cluster, placer):
    for seconds in (0.0, 0.2, 0.5):
        launch = asyncio.create_task(placer.launch(f"rt_{seconds}", NORTH))
        await asyncio.sleep(seconds)
        launch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launch
        await eventually(lambda: not workers(cluster) and not hosts(cluster))


async def test_a_cluster_is_reached_from_machines_that_are_not_its_own(cluster, tmp_path):
    async with a_placer(cluster, tmp_path, address=cluster.outer_address) as outside:
        await until_regions(outside, {"north", "south"})
        process = await outside.launch("rt_1", SOUTH)
        assert await worker_at(process) == "rt_1"
        with pytest.raises(MachineAbsent, match="its machine went away"):
            await outside.launch("rt_2", slot("west"))
        await outside.terminate("rt_1", process)


async def test_workers_outlive_the_process_that_started_them_and_another_one_ends_them(cluster, placer, tmp_path):
    async with a_placer(cluster, tmp_path) as before:
        await until_regions(before, {"north", "south"})
        process = await before.launch("rt_1", NORTH)
    assert await worker_at(process) == "rt_1"
    assert await placer.is_alive("rt_1", process)
    await placer.terminate("rt_1", process)
    assert not workers(cluster)


async def test_when_the_driver_is_killed_another_one_takes_its_place(cluster, placer):
    process = await placer.launch("rt_1", NORTH)
    drivers = [
        each for each in psutil.Process().children() if "services.scheduler.adapters.ray_driver" in each.cmdline()
    ]
    for driver in drivers:
        driver.kill()
    await until_regions(placer, set())
    await until_regions(placer, {"north", "south"})
    assert await worker_at(process) == "rt_1"
    await placer.terminate("rt_1", process)
    assert not workers(cluster)


async def test_a_cluster_that_refuses_the_token_is_told_of(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong-" + cluster.token)
    monkeypatch.setattr(ray_link, "JOIN_SECONDS", 4.0)
    async with a_placer(cluster, tmp_path) as stranger:
        with pytest.raises(MachineAbsent, match="does not answer"):
            await stranger.launch("rt_1", NORTH)
        told = ""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "no Ray cluster answers" not in told:
                await asyncio.sleep(0.1)
                told += capsys.readouterr().out
        assert "Authentication token is missing or incorrect" in told


def preflight(tmp_path: Path, **environment: str) -> dict[str, Any]:
    """What is found of the cluster before a start."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "slots:\n"
        "- {gpu_type: H200, region: north, count: 2, ray_labels: {ray.io/region: north}}\n"
        "- {gpu_type: L40S, region: south, count: 3, ray_labels: {ray.io/region: south}}\n"
    )
    own = {
        "FORGE_PLACER": "ray",
        "FORGE_FLEET": str(fleet),
        "FORGE_HOME": str(tmp_path),
        "FORGE_OBJECTS_URL": (tmp_path / "objects").as_uri(),
    }
    command = [sys.executable, "-m", "services.preflight"]
    done = subprocess.run(
        command, env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout)["cluster"]


async def test_what_a_cluster_lacks_is_known_before_a_start(cluster, tmp_path):
    found = await asyncio.to_thread(preflight, tmp_path)
    slots = [{"target": "H200@north", "there": 2, "all": 2}, {"target": "L40S@south", "there": 1, "all": 3}]
    assert found == {"faults": [], "address": cluster.address, "machines": 3, "slots": slots}
    assert (await asyncio.to_thread(preflight, tmp_path, FORGE_PLACER="local")) == {"faults": [], "address": ""}
    wrong = await asyncio.to_thread(preflight, tmp_path, RAY_ADDRESS="")
    assert "RAY_ADDRESS: where the Ray cluster is" in wrong["faults"][0]


async def test_a_machine_that_comes_late_is_used_and_one_that_goes_is_not(cluster, placer):
    late: RayNode = cluster.add_node({"ray.io/region": "west"}, gpus=1)
    await until_regions(placer, {"north", "south", "west"})
    process = await placer.launch("rt_1", slot("west"))
    assert process.address.startswith(f"{late.address}:")
    cluster.kill(late)
    await until_regions(placer, {"north", "south"})
    await placer.terminate("rt_1", process)
