"""The OpenAPI document."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from forge.catalog.v1 import catalog_service_pb2, model_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from services.scheduler.domain.routing import ROUTING_FIELDS
from services.web.adapters.contract_files import ContractFiles, contract_files
from services.web.adapters.openapi.document import ModelInputs, document, with_models
from services.web.adapters.openapi.schemas import Schemas
from tests.unit.web.conftest import Browser
from tests.unit.web.fake_platform import Platform

Kind = FieldDescriptorProto
CAT = ModelInputs(
    slug="a-cat",
    title="Cat",
    version="v2",
    is_default=True,
    schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["prompt"],
        "additionalProperties": False,
        "properties": {"prompt": {"type": "string"}},
    },
    example={"model": "a-cat", "prompt": "a cat"},
)
OLD_CAT = ModelInputs("a-cat", "Cat", "v1", False, {"type": "object", "properties": {}}, {"model_version": "v1"})


def operations(described: Mapping[str, Any] | None = None) -> dict[tuple[str, str], Any]:
    """Every operation by method and path."""
    methods = ("get", "head", "post", "delete")
    paths = (described or document())["paths"]
    return {(name.upper(), path): item[name] for path, item in paths.items() for name in methods if name in item}


def every_reference(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        if isinstance(found.get("$ref"), str):
            yield found["$ref"]
        for inner in found.values():
            yield from every_reference(inner)
    elif isinstance(found, list):
        for inner in found:
            yield from every_reference(inner)


def accepts(described: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value fits a schema of the document."""
    resource = Resource.from_contents({"$id": "urn:document", **described}, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)
    pointed = json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))
    return Draft202012Validator(pointed, registry=registry).is_valid(value)


@pytest.mark.parametrize("models", [[], [CAT], [CAT, OLD_CAT]])
def test_the_document_is_openapi_3_1(models: list[ModelInputs]) -> None:
    described = with_models(document(), models)

    OPENAPI_31_VALIDATOR.validate(described)
    loaded = schemathesis.openapi.from_dict(json.loads(json.dumps(described)))
    assert len(list(loaded.get_all_operations())) == len(operations(described))


def test_every_schema_of_it_is_a_json_schema() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    described = with_models(document(), [CAT, OLD_CAT])
    for reference in set(every_reference(described)):
        found: Any = described
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


def test_every_route_of_the_contract_is_there_with_its_scope() -> None:
    found = operations()
    for service in contract_files().services:
        for method in service.methods:
            assert method.routes
            for route in method.routes:
                operation = found[route.method, route.path]
                assert operation["x-scope"] == method.scope
                assert operation["x-rpc"] == method.full_name


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    found = operations(with_models(document(), [CAT]))
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for where, operation in found.items():
        assert operation["summary"].endswith((".", "…")), where
        assert operation["responses"], where


def test_every_parameter_of_a_path_is_described() -> None:
    for (_, path), operation in operations().items():
        shared = document()["paths"][path].get("parameters", [])
        named = {one["name"] for one in [*shared, *operation.get("parameters", [])] if one.get("in") == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path


def test_an_operation_has_the_errors_that_its_comment_names() -> None:
    refusals = operations()["POST", "/v1/inference/{slug}"]["responses"]
    assert "`MODEL_NOT_FOUND`" in refusals["404"]["description"]
    assert "`TARGET_NOT_OFFERED`" in refusals["409"]["description"]
    assert {"400", "401", "403", "429", "default"} <= set(refusals)


def test_an_inference_body_has_what_the_scheduler_reads() -> None:
    body = document()["components"]["schemas"]["InferenceBody"]
    assert set(body["properties"]) == ROUTING_FIELDS


def test_a_stream_is_lines_of_json_or_server_sent_events() -> None:
    content = operations()["GET", "/v1/renders/{render_id}/events"]["responses"]["200"]["content"]
    assert {name: form["x-framing"] for name, form in content.items()} == {
        "application/json": "newline-delimited",
        "text/event-stream": "server-sent-events",
    }


def test_what_is_always_there_is_required_and_what_may_be_absent_is_not() -> None:
    render = document()["components"]["schemas"]["forge.scheduler.v1.Render"]
    assert {"id", "status", "warnings"} <= set(render["required"])
    assert not {"output", "estimated_cost_usd", "ended_at"} & set(render["required"])


def a_contract() -> ContractFiles:
    """A file with what the contract does not use yet."""
    file = FileDescriptorProto(name="a.proto", package="forge.a.v1", syntax="proto3")
    message = file.message_type.add(name="Thing")
    message.oneof_decl.add(name="choice")
    message.oneof_decl.add(name="_late")
    kinds = [
        ("size", Kind.TYPE_INT64),
        ("count", Kind.TYPE_UINT64),
        ("raw", Kind.TYPE_BYTES),
        ("few", Kind.TYPE_UINT32),
    ]
    for number, (name, kind) in enumerate(kinds, 1):
        message.field.add(name=name, number=number, type=kind, label=Kind.LABEL_OPTIONAL)
    for number, name in enumerate(("one", "other"), 10):
        message.field.add(name=name, number=number, type=Kind.TYPE_STRING, label=Kind.LABEL_OPTIONAL, oneof_index=0)
    message.field.add(
        name="late", number=12, type=Kind.TYPE_STRING, label=Kind.LABEL_OPTIONAL, oneof_index=1, proto3_optional=True
    )
    message.field.add(
        name="colour", number=13, type=Kind.TYPE_ENUM, label=Kind.LABEL_OPTIONAL, type_name=".forge.a.v1.Colour"
    )
    message.field.add(
        name="things", number=14, type=Kind.TYPE_MESSAGE, label=Kind.LABEL_REPEATED, type_name=".forge.a.v1.Thing"
    )
    for number, well_known in enumerate(("Timestamp", "Duration", "Struct"), 20):
        message.field.add(
            name=well_known.lower(),
            number=number,
            type=Kind.TYPE_MESSAGE,
            label=Kind.LABEL_OPTIONAL,
            type_name=f".google.protobuf.{well_known}",
        )
    enum = file.enum_type.add(name="Colour")
    for number, name in enumerate(("COLOUR_UNSPECIFIED", "COLOUR_RED")):
        enum.value.add(name=name, number=number)
    return ContractFiles(FileDescriptorSet(file=[file]))


THING = {"size": "-9007199254740993", "count": "1", "raw": "AAE=", "few": 1, "colour": "COLOUR_RED", "things": []}


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"size": 1}, False),
        ({"count": "-1"}, False),
        ({"few": -1}, False),
        ({"colour": "RED"}, False),
        ({"one": "x"}, True),
        ({"one": "x", "other": "y"}, False),
        ({"late": "x"}, True),
        ({"timestamp": "2026-11-20T12:00:00Z", "duration": "3.5s", "struct": {"a": [1]}}, True),
        ({"duration": "3.5"}, False),
        ({"things": [THING]}, True),
        ({"things": [{}]}, False),
    ],
)
def test_answers_are_in_the_json_of_the_edge(changes: dict[str, Any], fits: bool) -> None:
    schemas = Schemas(a_contract())
    schema = schemas.answer("forge.a.v1.Thing")
    assert accepts({"components": {"schemas": schemas.found}}, schema, THING | changes) is fits


def test_requests_may_give_a_number_of_64_bits_as_a_number_and_need_nothing() -> None:
    schema = Schemas(a_contract()).question("forge.a.v1.Thing", ["size", "one"])
    assert schema["properties"].keys() == {"size", "one"}
    for body in ({}, {"size": 1}, {"size": "1"}):
        assert accepts({}, schema, body)
    assert not accepts({}, schema, {"size": 1.5})


@pytest.mark.parametrize(
    ("path", "body", "fits"),
    [
        ("/v1/inference/a-cat", {"prompt": "x"}, True),
        ("/v1/inference/a-cat", {"prompt": "x", "max_cost_usd": 0.1, "model_version": "v2"}, True),
        ("/v1/inference/a-cat", {}, False),
        ("/v1/inference/a-cat", {"prompt": "x", "typo": 1}, False),
        ("/v1/inference/a-cat", {"model_version": "v1"}, True),
        ("/v1/renders", {"prompt": "x", "model": "a-cat"}, True),
        ("/v1/renders", {"prompt": "x"}, False),
        ("/v1/renders", {"prompt": "x", "model": "a-dog"}, False),
    ],
)
def test_each_model_has_its_own_body(path: str, body: dict[str, Any], fits: bool) -> None:
    described = with_models(document(), [CAT, OLD_CAT])
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert accepts(described, content["schema"], body) is fits
    assert content["examples"]["inputs.a-cat"]["value"] == CAT.example


def test_models_change_nothing_in_the_document_they_are_added_to() -> None:
    before = json.dumps(document())
    with_models(document(), [CAT])
    assert json.dumps(document()) == before


@pytest.fixture
def with_a_model(platform: Platform) -> Platform:
    """A catalogue of one model."""
    model = model_pb2.Model(
        slug="a-cat", title="Cat", default_version="v2", versions=[model_pb2.ModelVersion(version="v2")]
    )
    platform.answers["ListModels"] = catalog_service_pb2.ListModelsResponse(models=[model])
    schema = model_pb2.InputSchema(slug="a-cat", model_version="v2")
    schema.schema.update(CAT.schema)
    schema.example.update(CAT.example)
    platform.answers["GetInputSchema"] = schema
    return platform


async def test_the_pages_of_documents_lead_to_it(browser: Browser) -> None:
    for page in ("/docs", "/docs/api"):
        assert '<a href="/openapi.json">' in (await browser.open(page)).text


@pytest.mark.usefixtures("with_a_model")
async def test_the_installation_describes_its_own_models(browser: Browser) -> None:
    answer = await browser.open("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert "/v1/inference/a-cat" in answer.json()["paths"]
    assert answer.headers["etag"]
    assert not re.search(r"[0-9]\.0[,}\]]", answer.text)  # whole numbers are written as such


@pytest.mark.usefixtures("with_a_model")
async def test_a_closed_catalogue_shows_its_models_to_its_users_only(browser: Browser) -> None:
    visitor = await browser.open("/openapi.json", public_catalogue=False)
    user = await browser.open("/openapi.json", public_catalogue=False, scopes="read")
    assert "/v1/inference/a-cat" not in visitor.json()["paths"]
    assert "/v1/inference/a-cat" in user.json()["paths"]


async def test_the_document_is_there_while_the_catalogue_is_not(browser: Browser) -> None:
    answer = await browser.open("/openapi.json", away=["catalog"])
    assert (answer.status_code, answer.json()) == (200, document())
