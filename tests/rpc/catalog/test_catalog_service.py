"""CatalogService over the wire."""

import json
from typing import Any

import pytest
import yaml
from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import catalog_service_pb2_grpc as rpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from services.chassis.clients import channel_to
from services.chassis.config import REPOSITORY
from services.chassis.errors import ForgeError, Kind
from services.chassis.identity import Caller
from services.chassis.status import errors_of

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"


def _json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("catalog"):
            await call
    return caught.value


async def test_models_are_listed_by_slug_and_found_by_search(served: Any) -> None:
    everything = await served.stub.ListModels(pb.ListModelsRequest())
    assert [model.slug for model in everything.models] == [SKYREELS, SVD, WAN]
    assert (everything.total_size, everything.next_page_token) == (3, "")
    images = await served.stub.ListModels(pb.ListModelsRequest(query="xt", modality="image", tag="diffusion"))
    assert [model.slug for model in images.models] == [SVD]


async def test_pages_follow_each_other(served: Any) -> None:
    first = await served.stub.ListModels(pb.ListModelsRequest(page_size=1))
    second = await served.stub.ListModels(pb.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    assert [first.models[0].slug, second.models[0].slug] == [SKYREELS, SVD]
    error = await _error(served.stub.ListModels(pb.ListModelsRequest(page_size=101, page_token="?")))
    assert (error.kind, error.reason) == (Kind.INVALID, "INVALID_INPUT")
    assert [violation.field for violation in error.violations] == ["page_size", "page_token"]


async def test_a_model_arrives_whole(served: Any) -> None:
    model = await served.stub.GetModel(pb.GetModelRequest(slug=SKYREELS))
    content = yaml.safe_load((REPOSITORY / "config" / "models" / f"{SKYREELS}.yaml").read_text())
    (version,) = content.pop("versions")
    (table,) = version.pop("published_figures")
    for kept in ("input_schema", "example", "quantities", "work", "memory", "output_seconds"):
        version.pop(kept)
    rows = [{"region": "", "source": table["source"], **row} for row in table["rows"]]
    found = _json(model)
    (found_version,) = found.pop("versions")
    found_rows = [{"region": "", **row} for row in found_version.pop("published_figures")]
    assert found_rows == rows
    assert found_version.pop("route") == {
        "path": f"/v1/inference/{SKYREELS}",
        "method": "POST",
        "model": SKYREELS,
        "model_version": "df-1-3b-540p-diffusers",
        "async_path": "/v1/renders",
        "rpc": "forge.scheduler.v1.RenderService/Infer",
    }
    assert found_version == version
    assert found.pop("default_version") == "df-1-3b-540p-diffusers"
    assert found == {**content, "date_added": "2026-05-17"}


async def test_what_a_publisher_does_not_state_is_absent(served: Any) -> None:
    model = await served.stub.GetModel(pb.GetModelRequest(slug=SVD))
    (version,) = model.versions
    assert not version.HasField("parameters_billions")
    assert not version.HasField("context_window_tokens")
    h100 = next(figure for figure in version.published_figures if figure.gpu_type == "H100")
    assert (h100.status, h100.region) == ("not probed", "")
    assert not any(h100.HasField(name) for name in ("model_ms", "cold_start_ms", "vram_gb", "sample_count"))


async def test_a_version_says_how_long_an_attempt_may_take_also_where_its_file_does_not(served: Any) -> None:
    seconds = [
        (await served.stub.GetModel(pb.GetModelRequest(slug=slug))).versions[0].max_run_seconds
        for slug in (SVD, SKYREELS)
    ]
    assert seconds == [3600, 14400]


@pytest.mark.parametrize("slug", [SVD, SKYREELS, WAN])
async def test_schema_and_example_arrive_exactly(served: Any, slug: str) -> None:
    inputs = await served.stub.GetInputSchema(pb.GetInputSchemaRequest(slug=slug))
    content = yaml.safe_load((REPOSITORY / "config" / "models" / f"{slug}.yaml").read_text())["versions"][0]
    assert inputs.model_version == content["version"]
    found = _json(inputs)
    assert found["schema"] == content["input_schema"]
    assert found["example"] == content["example"]
    assert "4294967295" in json.dumps(content["input_schema"])
    assert inputs.schema["properties"]["seed"]["maximum"] == 4294967295


async def test_unknown_models_and_versions_are_not_found(served: Any) -> None:
    error = await _error(served.stub.GetModel(pb.GetModelRequest(slug="skywork-skyreels")))
    assert (error.kind, error.reason) == (Kind.NOT_FOUND, "MODEL_NOT_FOUND")
    assert error.resource == ("model", "skywork-skyreels")
    assert f"did you mean '{SKYREELS}'" in error.message
    for call in (
        served.stub.GetInputSchema(pb.GetInputSchemaRequest(slug=SVD, model_version="1")),
        served.stub.GetInferenceRoutes(pb.GetInferenceRoutesRequest(slug=SVD, model_version="1")),
    ):
        error = await _error(call)
        assert (error.kind, error.reason) == (Kind.NOT_FOUND, "VERSION_NOT_FOUND")
        assert error.metadata["known"] == "img2vid-xt-diffusers"


async def test_a_selection_is_answered_with_route_pin_and_what_is_free(served: Any) -> None:
    request = pb.GetInferenceRoutesRequest(
        slug=SVD, model_version="img2vid-xt-diffusers", gpu_type="L40S", region="eu-north1"
    )
    routes = await served.stub.GetInferenceRoutes(request)
    assert _json(routes) == {
        "slug": SVD,
        "model_version": "img2vid-xt-diffusers",
        "route": {
            "path": f"/v1/inference/{SVD}",
            "method": "POST",
            "model": SVD,
            "model_version": "img2vid-xt-diffusers",
            "async_path": "/v1/renders",
            "rpc": "forge.scheduler.v1.RenderService/Infer",
        },
        "gpu_type": "L40S",
        "region": "eu-north1",
        "targets": [{"gpu_type": "L40S", "region": "eu-north1", "total_slots": 1}],
    }


async def test_without_a_pin_every_target_is_listed(served: Any) -> None:
    routes = await served.stub.GetInferenceRoutes(pb.GetInferenceRoutesRequest(slug=SKYREELS))
    assert [(t.gpu_type, t.region, t.simulated, t.total_slots, t.free_slots) for t in routes.targets] == [
        ("B200", "us-central1", True, 2, 1),
        ("H100", "eu-north1", True, 1, 1),
        ("L40S", "eu-north1", False, 1, 0),
    ]
    assert not routes.HasField("gpu_type")
    assert not routes.HasField("region")


async def test_an_unknown_pin_and_one_that_is_not_offered_are_told_apart(served: Any) -> None:
    unknown = await _error(served.stub.GetInferenceRoutes(pb.GetInferenceRoutesRequest(slug=SVD, gpu_type="B2000")))
    assert (unknown.kind, unknown.reason) == (Kind.INVALID, "UNKNOWN_TARGET")
    assert [violation.field for violation in unknown.violations] == ["gpu_type"]
    assert set(unknown.metadata["known"].split(",")) == {
        "B200@us-central1",
        "B300@uk-south1",
        "H100@eu-north1",
        "H200@eu-north2",
        "L40S@eu-north1",
        "RTX6000@us-central1",
    }
    lacking = await _error(served.stub.GetInferenceRoutes(pb.GetInferenceRoutesRequest(slug=SVD, gpu_type="H200")))
    assert (lacking.kind, lacking.reason) == (Kind.CONFLICT, "TARGET_NOT_OFFERED")
    assert lacking.metadata["offered"] == "B200@us-central1,H100@eu-north1,L40S@eu-north1"


async def test_routes_need_the_scheduler_and_models_do_not(served_alone: Any) -> None:
    error = await _error(served_alone.stub.GetInferenceRoutes(pb.GetInferenceRoutesRequest(slug=SVD)))
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    assert error.retry_after_seconds == 1.0
    assert (await served_alone.stub.GetModel(pb.GetModelRequest(slug=SVD))).slug == SVD


async def test_nobody_reads_without_a_key_that_may(served: Any) -> None:
    async with channel_to(f"127.0.0.1:{served.port}", Caller("acme", "key_1", frozenset())) as channel:
        error = await _error(rpc.CatalogServiceStub(channel).GetModel(pb.GetModelRequest(slug=SVD)))
        assert error.reason == "MISSING_SCOPE"
