"""GetSnippets over the wire, for the shipped models."""

from typing import Any

import pytest
from forge.catalog.v1 import catalog_service_pb2 as pb

from services.catalog.domain.snippets import KINDS
from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("catalog"):
            await call
    return caught.value


async def test_every_kind_comes_whole_and_in_the_order_of_use(served: Any) -> None:
    found = await served.stub.GetSnippets(pb.GetSnippetsRequest(slug=SKYREELS))
    assert [snippet.kind for snippet in found.snippets] == [kind.name for kind in KINDS]
    assert (found.slug, found.model_version) == (SKYREELS, "df-1-3b-540p-diffusers")
    assert not found.HasField("gpu_type")
    assert not found.HasField("region")
    for snippet in found.snippets:
        assert all((snippet.title, snippet.description, snippet.language, snippet.filename, snippet.text))


async def test_a_pin_and_an_address_are_in_the_text(served: Any) -> None:
    request = pb.GetSnippetsRequest(
        slug=SVD, gpu_type="L40S", region="eu-north1", kind="env", base_url="http://a.test/v1/"
    )
    found = await served.stub.GetSnippets(request)
    (env,) = found.snippets
    assert (found.gpu_type, found.region) == ("L40S", "eu-north1")
    assert "FORGE_API_BASE=http://a.test\n" in env.text
    assert "FORGE_GPU_TYPE=L40S\nFORGE_REGION=eu-north1\n" in env.text


async def test_the_picture_of_an_example_stands_in_a_snippet_as_it_is(served: Any) -> None:
    inputs = await served.stub.GetInputSchema(pb.GetInputSchemaRequest(slug=SVD))
    for kind in ("curl", "python", "python_grpc", "javascript", "grpc"):
        (snippet,) = (await served.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, kind=kind))).snippets
        assert f'"{inputs.example["image"]}"' in snippet.text


async def test_a_known_target_needs_not_be_offered(served: Any) -> None:
    found = await served.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, gpu_type="RTX6000", kind="setup"))
    assert "export FORGE_GPU_TYPE=RTX6000" in found.snippets[0].text
    error = await _error(served.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, gpu_type="H2000")))
    assert (error.kind, error.reason) == (Kind.INVALID, "UNKNOWN_TARGET")


async def test_everything_that_is_wrong_is_named_at_once(served: Any) -> None:
    request = pb.GetSnippetsRequest(slug=SVD, kind="perl", base_url="https://me:secret@a.test")
    error = await _error(served.stub.GetSnippets(request))
    assert (error.kind, error.reason) == (Kind.INVALID, "INVALID_INPUT")
    assert [violation.field for violation in error.violations] == ["kind", "base_url"]
    assert "secret" not in error.message
    error = await _error(served.stub.GetSnippets(pb.GetSnippetsRequest(slug="none")))
    assert error.reason == "MODEL_NOT_FOUND"
    error = await _error(served.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, model_version="2")))
    assert error.reason == "VERSION_NOT_FOUND"


async def test_without_a_pin_nobody_is_asked(served_alone: Any) -> None:
    assert (await served_alone.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, kind="curl"))).snippets
    error = await _error(served_alone.stub.GetSnippets(pb.GetSnippetsRequest(slug=SVD, gpu_type="L40S")))
    assert error.reason == "SERVICE_UNAVAILABLE"
