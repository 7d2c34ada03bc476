"""Methods of the contract as operations of OpenAPI: where their fields go, what they answer, which errors they name."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from services.web.adapters.contract_files import ContractFiles, ContractMethod, Route
from services.web.adapters.openapi.schemas import Schema, Schemas, reference_to
from services.web.domain.documents import first_sentence
from services.web.domain.reference import Reason, place_of

Operation = dict[str, Any]

BODY = "google.api.HttpBody"
_EVENTS = "/events"
"""How paths end whose streams the edge also writes as server-sent events."""


class Operations:
    """Operations of methods. `bodies` names the schemas of bodies that are one free object, by method."""

    def __init__(self, files: ContractFiles, schemas: Schemas, bodies: Mapping[str, str]) -> None:
        self._files = files
        self._schemas = schemas
        self._bodies = bodies
        self._reasons = {name: Reason(name, comment) for name, comment in files.reasons}

    def of(self, service: str, method: ContractMethod, route: Route, *, number: int = 0) -> Operation:
        """A route of a method of the service named `service`; `number` says which of the method's routes it is."""
        operation: Operation = {
            "operationId": f"{method.proto.name}{number + 1 if number else ''}",
            "tags": [service],
            "summary": first_sentence(method.comment, most=120),
            "description": method.comment,
            "x-scope": method.scope,
            "x-rpc": method.full_name,
            "parameters": self._parameters(method, route),
        }
        if body := self._body(method, route):
            operation["requestBody"] = body
        operation["responses"] = {"200": self._answer(method, route), **self._refusals(method)}
        return operation

    def _parameters(self, method: ContractMethod, route: Route) -> list[dict[str, Any]]:
        message = self._files.messages[method.input_name]
        found: list[dict[str, Any]] = []
        for field, comment in zip(message.proto.field, message.field_comments, strict=True):
            place = place_of(field.name, route.path, route.body)
            if place == "body":
                continue
            schema = self._schemas.field(field, "", is_asked=True)
            one = {"name": field.name, "in": place, "description": comment, "schema": schema}
            found.append(one | {"required": True} if place == "path" else one)
        if method.proto.name in self._bodies and method.scope != "read":
            found.append({"$ref": "#/components/parameters/IdempotencyKey"})
        return sorted(found, key=lambda one: one.get("in") != "path")

    def _body(self, method: ContractMethod, route: Route) -> dict[str, Any] | None:
        if not route.body:
            return None
        message = self._files.messages[method.input_name]
        if route.body != "*":
            described = zip(message.proto.field, message.field_comments, strict=True)
            field, comment = next(found for found in described if found[0].name == route.body)
            return {"required": True, "description": comment, "content": self._body_of(method, field)}
        names = [field.name for field in message.proto.field if place_of(field.name, route.path, route.body) == "body"]
        schema = self._schemas.question(method.input_name, names)
        return {"description": message.comment, "content": {"application/json": {"schema": schema}}}

    def _body_of(self, method: ContractMethod, field: FieldDescriptorProto) -> dict[str, Any]:
        """The content of a body that is one field of the request."""
        if field.type_name == f".{BODY}":
            return {"*/*": {}}
        if named := self._bodies.get(method.proto.name):
            return {"application/json": {"schema": reference_to(named)}}
        return {"application/json": {"schema": self._schemas.field(field, "", is_asked=True)}}

    def _answer(self, method: ContractMethod, route: Route) -> dict[str, Any]:
        if method.output_name == BODY:
            return {"description": "The bytes.", "content": {"*/*": {}}}
        schema = self._schemas.answer(method.output_name)
        if not method.proto.server_streaming:
            said = self._files.messages[method.output_name].comment
            return {"description": said, "content": {"application/json": {"schema": schema}}}
        content: dict[str, Any] = {"application/json": {"schema": schema, "x-framing": "newline-delimited"}}
        if route.path.endswith(_EVENTS):
            content["text/event-stream"] = {"schema": _events_of(schema), "x-framing": "server-sent-events"}
        return {
            "description": "A stream: one JSON document of this schema a line, as they come. Asked for with "
            "`Accept: text/event-stream`, each is the `data` of a server-sent event instead.",
            "content": content,
        }

    def _refusals(self, method: ContractMethod) -> dict[str, Any]:
        """Errors by HTTP status: those that the method's comment names, and what can happen to every call."""
        named = [
            self._reasons[word] for word in re.findall(r"\b[A-Z][A-Z_]+\b", method.comment) if word in self._reasons
        ]
        by_status: dict[int, list[Reason]] = defaultdict(list)
        for reason in named:
            if reason.http_status is not None and reason not in by_status[reason.http_status]:
                by_status[reason.http_status].append(reason)
        found = {
            "401": {"$ref": "#/components/responses/Unauthenticated"},
            "403": {"$ref": "#/components/responses/MissingScope"},
            "default": {"$ref": "#/components/responses/Error"},
        }
        for status, reasons in by_status.items():
            found[str(status)] = refusal(reasons)
        return dict(sorted(found.items()))


def refusal(reasons: Sequence[Reason]) -> dict[str, Any]:
    """An answer that refuses for one of these reasons."""
    said = "\n\n".join(f"`{reason.name}`: {reason.meaning}" for reason in reasons)
    return {"description": said, "content": {"application/json": {"schema": reference_to("Error")}}}


def _events_of(schema: Schema) -> Schema:
    return {
        "type": "string",
        "description": "Events with one line, `data: ` and a JSON document, each.",
        "contentMediaType": "application/json",
        "contentSchema": schema,
    }
