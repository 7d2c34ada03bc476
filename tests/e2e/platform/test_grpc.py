"""The same contract over gRPC, on the same port."""

import hashlib
from typing import Any

import grpc
import pytest
from forge.billing.v1 import billing_estimate_service_pb2, billing_estimate_service_pb2_grpc
from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from forge.scheduler.v1 import (
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
)
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

SVD = "stabilityai-stable-video-diffusion"


@pytest.fixture
async def channel(platform):
    async with aio.insecure_channel(platform.url.removeprefix("http://")) as channel:
        yield channel


def same(message, answer: dict) -> bool:
    """Whether a message says what a JSON answer says."""
    return message == json_format.ParseDict(answer, type(message)())


async def test_reading_answers_are_the_same_over_both(platform, rest, channel):
    catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    billing = billing_estimate_service_pb2_grpc.BillingEstimateServiceStub(channel)
    runtimes = runtime_service_pb2_grpc.RuntimeServiceStub(channel)
    asked = [
        (catalog.ListModels, catalog_service_pb2.ListModelsRequest(), "/v1/models"),
        (catalog.GetModel, catalog_service_pb2.GetModelRequest(slug=SVD), f"/v1/models/{SVD}"),
        (
            catalog.GetInputSchema,
            catalog_service_pb2.GetInputSchemaRequest(slug=SVD),
            f"/v1/models/{SVD}/input-schema",
        ),
        (
            billing.GetRunEstimate,
            billing_estimate_service_pb2.GetRunEstimateRequest(slug=SVD),
            f"/v1/models/{SVD}/run-estimate",
        ),
        (billing.ListPrices, billing_estimate_service_pb2.ListPricesRequest(), "/v1/prices"),
        (runtimes.GetCapacity, runtime_service_pb2.GetCapacityRequest(), "/v1/capacity"),
    ]
    for method, request, path in asked:
        assert same(await method(request, metadata=platform.metadata), rest.get(path).json()), path


async def test_a_render_over_grpc_is_the_one_over_rest(platform, rest, channel):
    renders = render_service_pb2_grpc.RenderServiceStub(channel)
    request = render_service_pb2.InferRequest(slug=SVD)
    request.input.update(platform.small(SVD))
    render = await renders.Infer(request, metadata=platform.metadata)
    assert render.status == "succeeded"
    assert same(render, rest.get(f"/v1/renders/{render.id}").json())
    watch = render_service_pb2.WatchRenderRequest(render_id=render.id)
    seen = [event.seq async for event in renders.WatchRender(watch, metadata=platform.metadata)]
    assert seen == list(range(1, render.last_seq + 1))
    fetch = render_service_pb2.GetVideoRequest(render_id=render.id)
    video = b"".join([piece.data async for piece in renders.GetVideo(fetch, metadata=platform.metadata)])
    assert hashlib.sha256(video).hexdigest() == render.output.sha256


async def test_health_needs_no_key(channel):
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_tells_the_public_contract_and_nothing_internal(platform, channel):
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def answer(**question):
        request = reflection_pb2.ServerReflectionRequest(**question)
        async for response in stub.ServerReflectionInfo(iter([request]), metadata=platform.metadata):
            return response
        raise AssertionError("no answer")

    names = [s.name for s in (await answer(list_services="")).list_services_response.service]
    assert "forge.scheduler.v1.RenderService" in names
    assert not [name for name in names if "worker" in name or "envoy" in name]
    found = await answer(file_containing_symbol="forge.scheduler.v1.RenderService")
    file = FileDescriptorProto.FromString(found.file_descriptor_response.file_descriptor_proto[0])
    assert file.name == "forge/scheduler/v1/render_service.proto"


async def test_without_a_key_nothing_is_told(channel):
    catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(aio.AioRpcError) as refused:
        await catalog.ListModels(
            catalog_service_pb2.ListModelsRequest(), metadata=aio.Metadata(("x-forge-account", "default"))
        )
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
