"""The whole document: what the contract says, what is said by hand, and what the models of this installation take."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from services.web.adapters.contract_files import ContractFiles, contract_files
from services.web.adapters.openapi.operations import Operations, refusal
from services.web.adapters.openapi.schemas import Schema, Schemas, reference_to
from services.web.domain.reference import Reason

Document = dict[str, Any]

_BY_HAND = Path(__file__).with_name("by_hand.yaml")
_INFER, _CREATE = "/v1/inference/{slug}", "/v1/renders"
_BODY = "InferenceBody"


@dataclass(frozen=True)
class ModelInputs:
    """What a version of a model takes, as its input schema says, and a body that runs."""

    slug: str
    title: str
    version: str
    is_default: bool
    schema: Mapping[str, Any]
    example: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of its schema in the document."""
        return f"inputs.{self.slug}" if self.is_default else f"inputs.{self.slug}.{self.version}"


@cache
def document() -> Document:
    """The document of the contract and its release, without models. It is made once: do not change it."""
    made = document_of(contract_files(), yaml.safe_load(_BY_HAND.read_text(encoding="utf-8")))
    made["info"]["x-release"] = version("forge-platform")
    return made


def document_of(files: ContractFiles, by_hand: Mapping[str, Any]) -> Document:
    """The document of these files. What is written by hand takes the place of what the contract says."""
    made: Document = copy.deepcopy(dict(by_hand))
    schemas = Schemas(files)
    operations = Operations(files, schemas, made.pop("x-bodies"))
    paths: dict[str, dict[str, Any]] = made["paths"]
    for service in files.services:
        made["tags"].append({"name": service.proto.name, "description": service.comment})
        for method in service.methods:
            for number, route in enumerate(method.routes):
                path = re.sub(r"\{(\w+)=[^}]*\}", r"{\1}", route.path)
                operation = operations.of(service.proto.name, method, route, number=number)
                item, name = paths.setdefault(path, {}), route.method.lower()
                item[name] = operation | item.get(name, {})
    made["paths"] = dict(sorted(paths.items()))
    made["components"]["schemas"] |= dict(sorted(schemas.found.items()))
    reasons = {name: Reason(name, comment) for name, comment in files.reasons}
    made["components"]["schemas"]["ErrorInfo"]["properties"]["reason"]["enum"] = list(reasons)
    made["components"]["responses"] |= {
        "Unauthenticated": refusal([reasons["UNAUTHENTICATED"]]),
        "MissingScope": refusal([reasons["MISSING_SCOPE"]]),
    }
    return made


def with_models(static: Document, models: Sequence[ModelInputs]) -> Document:
    """The document with the inputs of these models, each with a path of its own; `static` stays as it is."""
    if not models:
        return static
    components = static["components"]
    options: Schema = components["schemas"][_BODY]["properties"]
    schemas = {found.name: _body_of(found, options) for found in models}
    made = static | {
        "components": components | {"schemas": components["schemas"] | schemas},
        "paths": dict(static["paths"]),
    }
    for slug in dict.fromkeys(found.slug for found in models):
        versions = [found for found in models if found.slug == slug]
        path = _INFER.replace("{slug}", slug)
        made["paths"][path] = {"post": _infer(static["paths"][_INFER]["post"], versions)}
    create = copy.deepcopy(static["paths"][_CREATE])
    named = [{"allOf": [reference_to(found.name), {"required": ["model"]}]} for found in models]
    create["post"]["requestBody"]["content"] = _content(named, models)
    made["paths"][_CREATE] = create
    return made


def _infer(generic: Mapping[str, Any], versions: Sequence[ModelInputs]) -> dict[str, Any]:
    """The operation that renders with one model."""
    first, operation = versions[0], copy.deepcopy(dict(generic))
    operation["operationId"] += re.sub(r"\W+", "_", f"_{first.slug}")
    operation["summary"] = f"Renders with {first.title or first.slug} and waits."
    operation["parameters"] = [one for one in operation["parameters"] if one.get("in") != "path"]
    operation["requestBody"]["content"] = _content([reference_to(found.name) for found in versions], versions)
    return operation


def _content(schemas: Sequence[Schema], models: Sequence[ModelInputs]) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    examples = {found.name: {"value": found.example} for found in models}
    return {"application/json": {"schema": schema, "examples": examples}}


def _body_of(found: ModelInputs, options: Mapping[str, Schema]) -> Schema:
    """A body for a version: its inputs, and what every inference body may have."""
    schema = {name: value for name, value in found.schema.items() if name != "$schema"}
    version = options["model_version"] | {"const": found.version}
    pinned = {"model": options["model"] | {"const": found.slug}, "model_version": version}
    schema["title"] = f"Body for {found.title or found.slug}, {found.version}"
    schema["properties"] = {**schema.get("properties", {}), **options, **pinned}
    if not found.is_default:
        schema["required"] = [*schema.get("required", ()), "model_version"]
    return schema
