"""Asking for everything the platform offers, with any key, as the contract and the web service's routes list it."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import httpx
from forge.common.v1 import access_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from starlette.routing import Route

from services.web.app import application
from services.web.site import Site

_VARIABLE = re.compile(r"{(\w+)(?::path)?}")
_AT_ONCE = 32

# What the routes of the web service under /v1 need that are no RPC of the contract.
WEB_SCOPES = {
    ("POST", "/v1/renders/{render_id}/video-links"): "read",
    ("POST", "/v1/videos"): "inference",
    ("GET", "/v1/videos"): "read",
    ("GET", "/v1/videos/{video_id}"): "read",
    ("DELETE", "/v1/videos/{video_id}"): "inference",
    ("GET", "/v1/videos/{video_id}/content"): "read",
}


@dataclass(frozen=True)
class Answer:
    """What came back: a status of HTTP or a code of gRPC, the reason of the error, and all of it as text."""

    code: str
    reason: str = ""
    text: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".strip()


@dataclass(frozen=True)
class Call:
    """Something that can be asked for, in one of its ways."""

    name: str
    scope: str
    variables: tuple[str, ...]
    """Names of what it is about, as the path has them."""
    changes_something: bool
    verb: str = ""
    path: str = ""
    """Path of HTTP; empty for a native call."""
    body: Any = None
    method: MethodDescriptor | None = None

    @property
    def is_http(self) -> bool:
        return bool(self.path)


@dataclass(frozen=True)
class Door:
    """An edge to knock at."""

    http: httpx.AsyncClient
    channel: aio.Channel

    async def ask(self, call: Call, key: str | None, names: Mapping[str, str]) -> Answer:
        """Ask with a key, or without one, about what `names` says. A stream is read to its first message."""
        about = {variable: names[variable] for variable in call.variables}
        return await (self._over_http if call.is_http else self._over_grpc)(call, key, about)

    async def _over_http(self, call: Call, key: str | None, about: Mapping[str, str]) -> Answer:
        path = _VARIABLE.sub(lambda match: about[match[1]], call.path)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with self.http.stream(call.verb, path, headers=headers, json=call.body) as response:
            if response.is_success:
                text = await anext(response.aiter_text(), "")
                return Answer(str(response.status_code), text=text)
            text = (await response.aread()).decode(errors="replace")
            return Answer(str(response.status_code), _reason(text), text)

    async def _over_grpc(self, call: Call, key: str | None, about: Mapping[str, str]) -> Answer:
        assert call.method is not None
        asked = GetMessageClass(call.method.input_type)(**about)
        answer: Any = GetMessageClass(call.method.output_type).FromString
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        path = f"/{call.method.containing_service.full_name}/{call.method.name}"
        open_call: Any = self.channel.unary_stream if call.method.server_streaming else self.channel.unary_unary
        running = open_call(path, response_deserializer=answer)(asked.SerializeToString(), metadata=metadata)
        try:
            found = await (running.read() if call.method.server_streaming else running)
        except aio.AioRpcError as error:
            return _refusal(error)
        finally:
            running.cancel()
        return Answer("OK", text=str(found))

    async def reflect(self, key: str | None) -> Answer:
        """Ask what services there are."""
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        # Asked as a single question: a second write that meets a refusal half-way is INTERNAL by gRPC's own doing.
        answers = self.channel.unary_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        try:
            found = [answer async for answer in answers(asked, metadata=metadata)]
        except aio.AioRpcError as error:
            return _refusal(error)
        return Answer("OK", text=str(found))


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    row: str
    column: str
    expected: str
    got: str

    @property
    def is_right(self) -> bool:
        return self.got == self.expected


async def all_at_once(cells: Iterable[Any]) -> list[Cell]:
    """The cells of coroutines that make one each, some at the same time."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(cell: Any) -> Cell:
        async with room:
            return await cell

    return await asyncio.gather(*map(one, cells))


def table(cells: Sequence[Cell]) -> str:
    """The rows of the matrix that have a cell which is not as expected, as text."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    by_place = {(cell.row, cell.column): cell for cell in cells}
    lines = [["", *columns]]
    for row in dict.fromkeys(cell.row for cell in cells if not cell.is_right):
        found = [by_place.get((row, column)) for column in columns]
        lines.append([row, *(_shown(cell) for cell in found)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) + 1)]
    return "\n".join(" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return cell.got if cell.is_right else f"{cell.got} ≠ {cell.expected}"


def contract_calls(methods: Iterable[MethodDescriptor]) -> Iterator[Call]:
    """Every way to call every RPC of the public contract."""
    for method in methods:
        options: Any = method.GetOptions().Extensions
        rule = options[cast("Any", annotations_pb2.http)]
        scope, audited = options[access_pb2.required_scope], options[access_pb2.audited]
        name = f"{method.containing_service.name}.{method.name}"
        for place, binding in enumerate([rule, *rule.additional_bindings]):
            verb = binding.WhichOneof("pattern")
            path = getattr(binding, verb)
            variables = tuple(_VARIABLE.findall(path))
            body = {} if binding.body else None
            label = f"{verb.upper()} {path}"
            yield Call(label, scope, variables, audited, verb=verb.upper(), path=path, body=body)
            if place == 0:
                yield Call(name, scope, variables, audited, method=method)


def web_routes() -> Iterator[tuple[str, Route]]:
    """Every verb and route of the web service but static files."""
    for route in application(cast("Site", None)).routes:
        if isinstance(route, Route):
            for verb in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield verb, route


def web_calls() -> Iterator[Call]:
    """What the web service offers under /v1 beside the contract."""
    for (verb, path), scope in WEB_SCOPES.items():
        body = None if verb == "GET" else {}
        yield Call(f"{verb} {path}", scope, tuple(_VARIABLE.findall(path)), verb != "GET", verb, path, body)


def page_paths(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The pages that can be looked at: each route, and an address of it."""
    for verb, route in web_routes():
        if verb == "GET" and not route.path.startswith(("/v1/", "/links/", "/healthz")):
            yield route.path, _VARIABLE.sub(lambda match: names.get(match[1], "api"), route.path)


def _reason(text: str) -> str:
    """The reason in an error of the API or of the Videos dialect."""
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    if isinstance(error := body.get("error"), dict):
        return str(error.get("code", "")).upper()
    return next((detail["reason"] for detail in body.get("details", ()) if "reason" in detail), "")


def _refusal(error: aio.AioRpcError) -> Answer:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    for detail in status.details if status else ():
        detail.Unpack(info)
    code: grpc.StatusCode = error.code()
    return Answer(code.name, info.reason, error.details() or "")
