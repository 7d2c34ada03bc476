"""The edge as a program of its own, before services that run elsewhere."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGE = Path(sys.executable).with_name("forge")


@pytest.fixture
def environment(addresses, tmp_path):
    services = ("accounts", "billing_estimate", "catalog", "scheduler", "web")
    told = {f"FORGE_{service}_ADDRESS".upper(): getattr(addresses, service) for service in services}
    told |= {"FORGE_HOME": str(tmp_path), "FORGE_PLAINTEXT": "true", "FORGE_SHUTDOWN_GRACE_SECONDS": "20"}
    return {name: value for name, value in os.environ.items() if not name.startswith("FORGE_")} | told


@asynccontextmanager
async def an_edge(environment, elsewhere):
    host, _, port = elsewhere().listen.rpartition(":")
    process = await asyncio.create_subprocess_exec(FORGE, "edge", "--host", host, "--port", port, env=environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=20) as client, asyncio.timeout(60):
            while not await answers(client):
                assert process.returncode is None
                await asyncio.sleep(0.05)
            yield client, process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def answers(client):
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_it_stands_before_the_services_that_the_environment_names(environment, elsewhere, keys, services):
    async with an_edge(environment, elsewhere) as (client, process):
        assert (await client.get("/v1/renders/a-render")).status_code == 401
        answer = await client.get("/v1/renders/a-render/video", headers=keys.header)
        assert answer.content == services.video
        again = await asyncio.create_subprocess_exec(FORGE, "edge", env=environment, stderr=asyncio.subprocess.PIPE)
        _, said = await again.communicate()
        assert b"already runs" in said
        process.terminate()
        assert await process.wait() == 0
        assert not await answers(client)


async def test_told_to_stop_it_lets_calls_end(environment, elsewhere, keys, services):
    async with an_edge(environment, elsewhere) as (client, process):
        with services.held():
            async with client.stream("GET", "/v1/renders/growing/video", headers=keys.header) as answer:
                parts = answer.aiter_bytes()
                begun = await anext(parts)
                process.terminate()
                await asyncio.sleep(0.5)
                assert process.returncode is None
                services.may_end.set()
                assert begun + b"".join([part async for part in parts]) == services.video
        assert await process.wait() == 0


async def test_told_twice_it_does_not_wait_for_calls(environment, elsewhere, keys, services):
    async with an_edge(environment, elsewhere) as (client, process):
        with services.held():
            async with client.stream("GET", "/v1/renders/growing/video", headers=keys.header) as answer:
                parts = answer.aiter_bytes()  # which closes the connection once nobody has it
                await anext(parts)
                process.terminate()
                await asyncio.sleep(0.5)
                assert process.returncode is None
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"FORGE_WEB_ADDRESS": None, "FORGE_CATALOG_ADDRESS": ""}, "FORGE_CATALOG_ADDRESS, FORGE_WEB_ADDRESS"),
        ({"FORGE_WEB_ADDRESS": "nowhere"}, "'nowhere' is no address: write host:port"),
        ({"FORGE_PLAINTEXT": None}, "name the folder of certificates in FORGE_TLS_DIR"),
        ({"FORGE_TRUSTED_PROXIES": "many"}, "FORGE_TRUSTED_PROXIES"),
        ({"FORGE_SHUTDOWN_GRACE_SECONDS": "soon"}, "FORGE_SHUTDOWN_GRACE_SECONDS"),
    ],
)
async def test_what_is_wrong_is_named_before_anything_starts(environment, change, says):
    told = {name: value for name, value in (environment | change).items() if value is not None}
    process = await asyncio.create_subprocess_exec(FORGE, "edge", env=told, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert says in said.decode()
    assert "Traceback" not in said.decode()


async def test_envoy_ends_with_it_even_when_it_is_killed(environment, elsewhere):
    async with an_edge(environment, elsewhere) as (client, process):
        process.kill()
        async with asyncio.timeout(10):
            while await answers(client):
                await asyncio.sleep(0.05)
