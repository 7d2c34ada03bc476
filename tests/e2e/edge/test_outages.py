"""When something behind the edge is down, and what operators see."""

import asyncio
import json
import subprocess
from dataclasses import replace

import grpc
import httpx
import pytest
from forge.billing.v1 import billing_estimate_service_pb2
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from forge_cli.edge import envoy_command, write_edge_config
from services.chassis.server import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

BILLING = billing_estimate_service_pb2.DESCRIPTOR.services_by_name["BillingEstimateService"]
LIST_MODELS = "/forge.catalog.v1.CatalogService/ListModels"
LIST_PRICES = "/forge.billing.v1.BillingEstimateService/ListPrices"


async def test_nothing_passes_while_nobody_checks_keys(
    start_edge, other_addresses, dead_address, tmp_path, keys, services
):
    addresses = replace(other_addresses, accounts=dead_address)
    async with start_edge(tmp_path, addresses) as edge:
        calls = len(services.calls)
        answer = await edge.http.get("/v1/models", headers=keys.header)
        assert answer.status_code == 503
        assert answer.json()["details"][0]["reason"] == "SERVICE_UNAVAILABLE"
        with pytest.raises(aio.AioRpcError) as refusal:
            await edge.grpc.unary_unary(LIST_MODELS)(b"", metadata=keys.metadata)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await edge.http.get("/nope", headers=keys.header)).status_code == 503
        assert len(services.calls) == calls


async def test_a_service_that_is_down_is_said_to_be_and_is_back_soon_after_its_start(
    start_edge, other_addresses, dead_address, tmp_path, keys, services
):
    addresses = replace(other_addresses, billing_estimate=dead_address)
    async with start_edge(tmp_path, addresses) as edge:
        await edge.until_healthz(503)
        answer = await edge.http.get("/v1/prices", headers=keys.header)
        assert answer.status_code == 503
        status = answer.json()
        assert status["code"] == 14
        assert [detail["@type"].rpartition(".")[2] for detail in status["details"]] == ["ErrorInfo", "RetryInfo"]
        assert status["details"][1]["retry_delay"] == "1s"
        with pytest.raises(aio.AioRpcError) as refusal:
            await edge.grpc.unary_unary(LIST_PRICES)(b"", metadata=keys.metadata)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        for text in (answer.text, refusal.value.details() or ""):
            assert dead_address.rpartition(":")[2] not in text
            assert "refused" not in text
        assert (await edge.http.get("/v1/models", headers=keys.header)).status_code == 200
        async with serving(dead_address, [services.mount(BILLING)], grace_seconds=0):
            async with asyncio.timeout(3):
                await edge.until_healthz(200)
            assert (await edge.http.get("/v1/prices", headers=keys.header)).status_code == 200
        await edge.until_healthz(503)


async def test_a_second_edge_on_the_same_port_fails(edge, addresses, tmp_path):
    config = write_edge_config(tmp_path, addresses)
    command = await asyncio.create_subprocess_exec(*envoy_command(config), stderr=subprocess.PIPE)
    _, said = await asyncio.wait_for(command.communicate(), 20)
    assert command.returncode != 0
    assert b"Address already in use" in said


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    def __init__(self):
        self.spans = asyncio.Queue()

    async def Export(self, request, context):  # noqa: N802 — the name is the protocol's
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put_nowait(span)
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_the_edge_continues_the_trace_of_a_client(start_edge, other_addresses, tmp_path, keys, services):
    collector, server = Collector(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    header = keys.header | {"traceparent": f"00-{trace_id}-{parent}-01"}
    async with start_edge(tmp_path, other_addresses, otlp_endpoint=f"http://127.0.0.1:{port}") as edge:
        for _ in range(3):  # spans are sent five at a time
            await edge.http.get("/v1/models", headers=header)
        async with asyncio.timeout(15):
            while (await collector.spans.get()).parent_span_id.hex() != parent:
                pass
    await server.stop(0)
    assert services.last()[1]["traceparent"].split("-")[1] == trace_id
    assert services.last()[1]["traceparent"].split("-")[2] != parent


async def test_the_access_log_holds_no_secrets(edge, keys):
    await edge.http.get("/v1/models?query=very-private", headers=keys.header | {"x-request-id": "to-find"})
    async with asyncio.timeout(15):
        while "to-find" not in (log := (edge.directory / "envoy.log").read_text()):
            await asyncio.sleep(0.1)
    entry = next(json.loads(line) for line in log.splitlines() if "to-find" in line)
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/v1/models", 200)
    assert entry["account"] == "default"
    assert "very-private" not in log
    assert keys.admin not in log


async def test_the_address_of_statistics_is_loopback_and_only_for_looking(edge):
    address = (edge.directory / "admin-address").read_text()
    assert address.startswith("127.0.0.1:")
    async with httpx.AsyncClient(base_url=f"http://{address}") as admin:
        assert (await admin.get("/ready")).text == "LIVE\n"
        assert (
            'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="edge"}'
            in (await admin.get("/stats/prometheus")).text
        )
        assert (await admin.post("/quitquitquit")).status_code == 403
        assert (await admin.get("/config_dump")).status_code == 403
