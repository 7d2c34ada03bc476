"""Malformed requests of four kinds, each from a seed and a number, so that one that finds something can be repeated."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests import wire
from tests.e2e.conftest import RPCS, Rpc
from tests.malformed.values import fill, json_object, json_text

SEEDS = Path(__file__).with_name("seeds")
KINDS = ("http1", "http2", "json", "grpc")
KEY = b"{an API key, which has as many characters as this}"
"""Stands in payloads for a key, at its length, so that nothing around it has to change."""
HOST = "localhost"

_SLUGS = (
    "skywork-skyreels-v2",
    "stabilityai-stable-video-diffusion",
    "no-such-model",
    "%2e%2e",
    "x" * 200,
    "a%0ab",
    "%ff",
)
_INPUTS = [
    "model",
    "prompt",
    "image",
    "width",
    "height",
    "num_frames",
    "seed",
    "deadline",
    "max_cost_usd",
    "priority",
    "gpu_type",
    "region",
]
# What a slug that exists would set going for long.
_NEVER_FOR_REAL = ("start", "probes", "StartFamily", "CreateProbe", "StartRuntime", "events", "WatchFamily")
_TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\t",
    b" ",
    b":",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Host: evil.example\r\n",
    b"Content-Encoding: gzip\r\n",
    b"X-Forge-Account: other\r\n",
    b"X_A: b\r\n",
    b"Content-Type: application/grpc\r\n",
    b"Range: bytes=9-1,-0\r\n",
    b"grpc-timeout: 1x\r\n",
    b"grpc-encoding: snappy\r\n",
    b"grpc-status: 3\r\n",
    b"te: gzip\r\n",
    b"x-a-bin: !!!\r\n",
    b"x-a: \xc3\xa9\xff\r\n",
    b"x-!#$&'*+^`|~: a\r\n",
    b"grpc-tags-bin: AAAA\r\n",
    b"grpc-trace-bin: !\r\n",
    b"grpc-previous-rpc-attempts: x\r\n",
    b"content-type: text/plain\r\n",
    b"accept-encoding: \xff\r\n",
    b"Cookie: " + b"a=b; " * 300 + b"\r\n",
    b"traceparent: 00-zz-zz-zz\r\n",
    b'If-None-Match: "\r\n',
    b"idempotency-key: \xff\xfe\r\n",
    b"%00",
    b"%ff",
    b"../",
    b"//",
    b"\xff\xfe",
    b"X-A: " + b"b" * 20_000 + b"\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Accept: text/html\r\n",
    b"Accept: text/event-stream\r\n",
    b"?page_size=-1&page_token=%00",
    b"?a=%ff&b",
    b"HTTP/9.9",
)
_PAGES = (
    "/",
    "/models",
    "/renders",
    "/status",
    "/docs",
    "/docs/api",
    "/sign-in",
    "/static/forge.css",
    "/links/x",
    "/openapi.json",
    "/v1/videos",
)


@dataclass(frozen=True)
class Case:
    """One request. `target` is a method and a path for "json", a gRPC path for "grpc", empty for bytes as they are."""

    kind: str
    payload: bytes
    target: str = ""
    found: str = ""
    """What it found once, for one that is kept."""

    def as_seed(self) -> dict[str, str]:
        """As it is kept in a file."""
        return {
            "found": self.found,
            "kind": self.kind,
            "target": self.target,
            "payload": self.payload.decode("latin-1"),
        }

    @classmethod
    def of_seed(cls, kept: Mapping[str, str]) -> "Case":
        """One that was kept."""
        return cls(kept["kind"], kept["payload"].encode("latin-1"), kept["target"], kept["found"])


def kept_cases() -> Iterator[Case]:
    """Those that once found something."""
    for file in sorted(SEEDS.glob("*.json")):
        yield from (Case.of_seed(kept) for kept in json.loads(file.read_text("utf-8")))


def case(seed: str, number: int) -> Case:
    """The malformed request of this number; always the same one."""
    luck = Random(f"{seed}/{number}")
    kind = KINDS[number % len(KINDS)]
    return {"http1": _http1, "http2": _http2, "json": _json, "grpc": _grpc}[kind](luck)


def _http1(luck: Random) -> Case:
    rpc = luck.choice(RPCS)
    method, path = (rpc.http_method, _path(rpc, luck)) if luck.random() < 0.7 else ("GET", luck.choice(_PAGES))
    body = json_text(luck).encode("utf-8", "surrogatepass") if method == "POST" else b""
    key = b"Authorization: Bearer " + KEY + b"\r\n" if luck.random() < 0.9 else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n".encode() + key
    whole = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    return Case("http1", _damaged(whole, luck))


def _http2(luck: Random) -> Case:
    rpc = luck.choice(RPCS)
    path, method = (_path(rpc, luck), rpc.http_method) if luck.random() < 0.5 else (rpc.path, "POST")
    more = [("content-type", luck.choice(("application/grpc", "application/json")))]
    more += [(f"x-{n}", "y" * luck.choice((1, 5_000))) for n in range(luck.choice((0, 1, 40)))]
    block = wire.request_headers(path, HOST, ("authorization", f"Bearer {KEY.decode()}"), *more, method=method)
    frames = [wire.frame(wire.HEADERS, luck.choice((4, 5, 5, 0, 37)), 1, _maybe_damaged(block, luck, 0.2))]
    for _ in range(luck.choice((0, 0, 1, 2, 4))):
        size = luck.choice((0, 1, 5, 8, 100, 16_384, 20_000))
        stream = luck.choice((0, 1, 1, 3, 2**31 - 1))
        frames.append(wire.frame(luck.randrange(12), luck.randrange(256), stream, luck.randbytes(size)))
    if luck.random() < 0.5:
        frames.append(wire.frame(wire.DATA, 1, 1, b"\0\0\0\0\2\x0a\0"))
    return Case("http2", b"".join(_maybe_damaged(frame, luck, 0.1) for frame in frames))


def _json(luck: Random) -> Case:
    rpc = luck.choice([rpc for rpc in RPCS if rpc.http_method in ("POST", "PUT", "PATCH") or luck.random() < 0.3])
    fields = [field.name for field in rpc.method.input_type.fields]
    names = luck.sample([*fields, *_INPUTS, "no_such_field", ""], k=luck.randrange(8))
    text = json_object(luck, names) if luck.random() < 0.8 else json_text(luck)
    query = (
        ""
        if luck.random() < 0.7
        else f"?{luck.choice(fields or ['a'])}={luck.choice(('-1', '%ff', 'NaN', '1e99', ''))}"
    )
    return Case(
        "json",
        _maybe_damaged(text.encode("utf-8", "surrogatepass"), luck, 0.3),
        f"{rpc.http_method} {_path(rpc, luck)}{query}",
    )


def _grpc(luck: Random) -> Case:
    rpc = luck.choice(RPCS)
    message: Message = GetMessageClass(rpc.method.input_type)()
    fill(message, luck)
    if isinstance(slug := getattr(message, "slug", None), str) and not _may_be_real(rpc.path):
        message.slug = f"no-such-{slug[:50]}"  # pyright: ignore[reportAttributeAccessIssue] — it has the field
    return Case("grpc", _maybe_damaged(message.SerializeToString(), luck), rpc.path)


def _path(rpc: Rpc, luck: Random) -> str:
    """The path of a method, its parameters filled in somehow."""
    slug = luck.choice(_SLUGS if _may_be_real(rpc.http_path) else _SLUGS[2:])
    return rpc.http_path.replace("a-model", slug).replace("a-render", luck.choice(("rnd_x", *_SLUGS[2:])))


def _may_be_real(path: str) -> bool:
    return not any(word in path for word in _NEVER_FOR_REAL)


def _maybe_damaged(data: bytes, luck: Random, chance: float = 0.5) -> bytes:
    return _damaged(data, luck) if luck.random() < chance else data


def _damaged(data: bytes, luck: Random) -> bytes:
    """The bytes with one to four things done to them."""
    for _ in range(luck.randint(1, 4)):
        at, size = luck.randrange(len(data) + 1), luck.choice((1, 1, 3, 20))
        match luck.randrange(6):
            case 0:
                data = data[:at] + bytes((luck.randrange(256),)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + data[at : at + size] * luck.choice((2, 100)) + data[at + size :]
            case 3 | 4:
                line = data.find(b"\n", at) + 1
                data = data[:line] + luck.choice(_TOKENS) + data[line:]
            case _:
                data = data[:at] + luck.choice(_TOKENS) + data[at:]
    return data


def values_of(case: Case) -> dict[str, Any]:
    """A case as people read it."""
    return case.as_seed() | {"payload": case.payload[:400].decode("latin-1")}
