"""Probes over gRPC, as the edge calls them, and the tables of a catalogue they are made from."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc, measurement_pb2, model_pb2
from forge.scheduler.v1 import probe_service_pb2, probe_service_pb2_grpc
from google.protobuf import json_format
from grpc import aio

from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.errors import ServiceUnavailable
from services.chassis.identity import Caller, service_caller
from services.chassis.server import Mount, serving
from services.chassis.status import to_error
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.grpc_target_rows import GrpcTargetRows
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.assembly import assembled
from services.scheduler.domain.facts import Failure
from services.scheduler.probe_ports import TargetRow
from services.scheduler.probe_servicer import ProbeServicer
from tests.unit.scheduler.house_bench import H200, L40S, parts_of, slots
from tests.unit.scheduler.probes_bench import ProbedCatalog

rpc = probe_service_pb2


@pytest.fixture
def workers():
    return ScriptedWorkers(free=False)


@pytest.fixture
async def as_caller(tmp_path, open_database_of_all, workers):
    """Makes stubs that call as the edge would for a key with a scope. Runs wait until the test lets them go on."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database_of_all(tmp_path / "s.sqlite3", MIGRATIONS))
        parts = parts_of(database, SystemClock(), workers, fleet=slots(H200, L40S), catalog=ProbedCatalog())
        assembly = await stack.enter_async_context(assembled(**parts))
        assert assembly.probes is not None
        mount = Mount(
            probe_service_pb2.DESCRIPTOR.services_by_name["ProbeService"],
            probe_service_pb2_grpc.add_ProbeServiceServicer_to_server,
            ProbeServicer(assembly.probes),
        )
        port = await stack.enter_async_context(serving("127.0.0.1:0", [mount], grace_seconds=0))

        async def stub(scope: str = "admin") -> probe_service_pb2_grpc.ProbeServiceStub:
            caller = Caller("ann", "key_1", frozenset({scope}))
            channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", caller))
            return probe_service_pb2_grpc.ProbeServiceStub(channel)

        yield stub


async def refusal_of(call) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason, and the fields that are named."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    error = to_error(caught.value, "scheduler")
    return caught.value.code(), error.reason, [violation.field for violation in error.violations]


async def until(ann, probe_id, holds):
    async with asyncio.timeout(10):
        while True:
            probe = await ann.GetProbe(rpc.GetProbeRequest(probe_id=probe_id))
            if holds(probe):
                return probe


async def test_probes_are_made_of_each_target_and_shown_with_what_they_will_run(as_caller):
    ann = await as_caller()
    probes = (await ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", runs=2))).probes
    assert [probe.target.gpu_type for probe in probes] == ["H200", "L40S"]
    probe = probes[0]
    assert (probe.slug, probe.model_version, probe.origin, probe.yields) == ("alpha", "v1", "asked", 0)
    assert [json_format.MessageToDict(run.input) for run in probe.runs] == [
        {"num_frames": 5.0},
        {},
        {},
        {"num_frames": 5.0},
        {"num_frames": 9.0},
    ]
    assert [run.counts for run in probe.runs] == [False, True, True, False, False]
    assert not probe.runs[0].HasField("model_ms")
    assert not probe.HasField("ended_at")


async def test_a_probe_that_is_through_says_what_each_run_took(as_caller, workers):
    ann = await as_caller()
    await workers.let_through(1_000)
    request = rpc.CreateProbesRequest(slug="alpha", gpu_type="H200", runs=1)
    (made,) = (await ann.CreateProbes(request)).probes
    probe = await until(ann, made.id, lambda now: now.HasField("ended_at"))
    assert probe.status == "succeeded"
    assert {(run.status, run.model_ms) for run in probe.runs} == {("succeeded", 60)}
    assert [run.HasField("cold_start_ms") for run in probe.runs] == [True, False, False, False]


async def test_a_probe_that_failed_says_why(as_caller, workers):
    ann = await as_caller()
    workers.render_failure = Failure("OUT_OF_MEMORY", "too little memory")
    await workers.let_through(1_000)
    (made,) = (await ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", gpu_type="H200"))).probes
    probe = await until(ann, made.id, lambda now: now.HasField("ended_at"))
    assert (probe.status, probe.reason, probe.runs[0].reason) == ("failed", "OUT_OF_MEMORY", "OUT_OF_MEMORY")


async def test_probes_are_listed_newest_first_and_can_be_told_apart(as_caller):
    ann = await as_caller()
    for slug in ("alpha", "beta"):
        await ann.CreateProbes(rpc.CreateProbesRequest(slug=slug))
    page = await ann.ListProbes(rpc.ListProbesRequest(page_size=3))
    rest = await ann.ListProbes(rpc.ListProbesRequest(page_token=page.next_page_token))
    ids = [probe.id for probe in (*page.probes, *rest.probes)]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest.next_page_token) == (4, "")
    betas = await ann.ListProbes(rpc.ListProbesRequest(slug="beta"))
    assert [probe.slug for probe in betas.probes] == ["beta", "beta"]
    assert not (await ann.ListProbes(rpc.ListProbesRequest(status="failed"))).probes


async def test_a_probe_is_canceled_and_stays_so(as_caller):
    ann = await as_caller()
    (made,) = (await ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", gpu_type="H200"))).probes
    for _ in range(2):
        canceled = await ann.CancelProbe(rpc.CancelProbeRequest(probe_id=made.id))
        assert (canceled.status, canceled.HasField("ended_at")) == ("canceled", True)


async def test_wrong_requests_are_answered_with_the_reason_and_the_fields(as_caller):
    ann = await as_caller()
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    create = ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", runs=101))
    assert await refusal_of(create) == (invalid, "INVALID_INPUT", ["runs"])
    unknown = ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", gpu_type="X1"))
    assert await refusal_of(unknown) == (invalid, "UNKNOWN_TARGET", ["gpu_type"])
    elsewhere = ann.CreateProbes(rpc.CreateProbesRequest(slug="alpha", gpu_type="B300"))
    assert (await refusal_of(elsewhere))[1] == "TARGET_NOT_OFFERED"
    nobody = ann.CreateProbes(rpc.CreateProbesRequest(slug="nobody"))
    assert await refusal_of(nobody) == (missing, "MODEL_NOT_FOUND", [])
    listing = ann.ListProbes(rpc.ListProbesRequest(status="gone", page_size=101, page_token="x"))
    assert await refusal_of(listing) == (invalid, "INVALID_INPUT", ["status", "page_size", "page_token"])
    for call in (
        ann.GetProbe(rpc.GetProbeRequest(probe_id="prb_1")),
        ann.CancelProbe(rpc.CancelProbeRequest(probe_id="prb_1")),
    ):
        assert await refusal_of(call) == (missing, "PROBE_NOT_FOUND", [])


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_only_who_may_administrate_sees_makes_or_stops_probes(as_caller, scope):
    other = await as_caller(scope)
    for call in (
        other.CreateProbes(rpc.CreateProbesRequest(slug="alpha")),
        other.GetProbe(rpc.GetProbeRequest(probe_id="prb_1")),
        other.ListProbes(rpc.ListProbesRequest()),
        other.CancelProbe(rpc.CancelProbeRequest(probe_id="prb_1")),
    ):
        assert (await refusal_of(call))[1] == "MISSING_SCOPE"


class TwoPages(catalog_service_pb2_grpc.CatalogServiceServicer):
    """A catalogue of two models, one a page, with a row for each version."""

    async def ListModels(self, request, context):  # noqa: N802 — as in the contract
        slug = request.page_token or "alpha"
        versions = [model_pb2.ModelVersion(version=f"{slug}-{number}") for number in (1, 2)]
        following = "" if request.page_token else "beta"
        models = [model_pb2.Model(slug=slug, versions=versions)]
        return catalog_service_pb2.ListModelsResponse(models=models, next_page_token=following)

    async def ListTargets(self, request, context):  # noqa: N802 — as in the contract
        row = measurement_pb2.TargetRow(gpu_type="H200", region="local", status="stale", simulated=True)
        return catalog_service_pb2.ListTargetsResponse(
            slug=request.slug, model_version=request.model_version, targets=[row]
        )


async def test_the_rows_of_all_versions_are_read_from_the_catalogue():
    mount = Mount(
        catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
        TwoPages(),  # pyright: ignore[reportAbstractUsage] — nobody makes the other calls
    )
    async with AsyncExitStack() as stack:
        async with serving("127.0.0.1:0", [mount], grace_seconds=0) as port:
            channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", service_caller("scheduler")))
            rows = await GrpcTargetRows(channel).all()
        assert rows == [
            TargetRow(slug, f"{slug}-{number}", "H200", "local", True, "stale")
            for slug in ("alpha", "beta")
            for number in (1, 2)
        ]
        with pytest.raises(ServiceUnavailable):
            await GrpcTargetRows(channel).all()
