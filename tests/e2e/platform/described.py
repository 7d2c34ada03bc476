"""The OpenAPI document of a platform, and whether answers are what it says."""

import copy
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_ROOT = "urn:document"


@dataclass(frozen=True)
class Described:
    """A document. Answers are held to it closely: what it does not name must not be in them."""

    document: dict[str, Any]

    @cached_property
    def _registry(self) -> Any:
        closed = _closed(copy.deepcopy(self.document))
        resource = Resource.from_contents({"$id": _ROOT, **closed}, default_specification=DRAFT202012)
        return Registry().with_resource(_ROOT, resource)

    def operations(self, method: str) -> dict[str, dict[str, Any]]:
        """The operations of an HTTP method, by path."""
        return {path: item[method] for path, item in self.document["paths"].items() if method in item}

    def faults(self, schema: dict[str, Any], value: Any) -> list[str]:
        """What does not fit, each with where it is."""
        pointed = json.loads(json.dumps(_closed(copy.deepcopy(schema))).replace('"#/', f'"{_ROOT}#/'))
        validator = Draft202012Validator(
            pointed, registry=self._registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]

    def faults_of(self, operation: dict[str, Any], answer: httpx.Response) -> list[str]:
        """What is wrong with an answer to an operation."""
        responses = operation["responses"]
        described = responses.get(str(answer.status_code)) or responses.get("default")
        if described is None:
            return [f"{answer.status_code} is not described"]
        if "$ref" in described:
            described = self.document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        content = described.get("content", {})
        if "*/*" in content:
            return []
        if media_type not in content:
            return [f"{media_type} is not described, {list(content)} is"] if content else []
        if "schema" not in content[media_type]:
            return []
        return self.faults(content[media_type]["schema"], answer.json())


def _closed(schema: Any) -> Any:
    """A schema without room for what it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(each) for name, each in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found
