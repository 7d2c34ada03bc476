"""The methods of the public contract, as its descriptor set lists them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from forge.common.v1 import access_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACT = FileDescriptorSet.FromString((REPOSITORY / "gen" / "forge.binpb").read_bytes())


@dataclass(frozen=True)
class Rpc:
    """One method of the public contract, callable both ways."""

    method: MethodDescriptor

    @property
    def service(self) -> str:
        return self.method.containing_service.full_name

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.method.name}"

    @property
    def options(self) -> Any:
        return self.method.GetOptions().Extensions

    @property
    def scope(self) -> str:
        return self.options[access_pb2.required_scope]

    @property
    def http_method(self) -> str:
        return self.options[annotations_pb2.http].WhichOneof("pattern").upper()

    @property
    def http_path(self) -> str:
        rule = self.options[annotations_pb2.http]
        path = getattr(rule, rule.WhichOneof("pattern"))
        return (
            path.replace("{slug}", "a-model")
            .replace("{render_id}", "a-render")
            .replace("{id}", "an-id")
            .replace("{webhook_id}", "a-webhook")
            .replace("{delivery_id}", "a-delivery")
        )

    async def over_http(self, client: httpx.AsyncClient, key: str | None) -> httpx.Response:
        """Call the method as JSON, with the least body it has."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        body = {} if self.options[annotations_pb2.http].body else None
        return await client.request(self.http_method, self.http_path, headers=headers, json=body)

    async def over_grpc(self, channel: aio.Channel, key: str | None) -> Any:
        """Call the method natively, with an empty request; a list where it streams."""
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        answer = GetMessageClass(self.method.output_type)
        open_call: Any = channel.unary_stream if self.method.server_streaming else channel.unary_unary
        call = open_call(self.path, response_deserializer=answer.FromString)(b"", metadata=metadata)
        return [message async for message in call] if self.method.server_streaming else await call


def public_rpcs() -> list[Rpc]:
    """Every method with an HTTP route, in the order of the contract."""
    pool = DescriptorPool()
    for file in CONTRACT.file:
        pool.AddSerializedFile(file.SerializeToString())
    services = [
        pool.FindServiceByName(f"{file.package}.{service.name}") for file in CONTRACT.file for service in file.service
    ]
    rpcs = [Rpc(method) for service in services for method in service.methods]
    return [rpc for rpc in rpcs if rpc.options[annotations_pb2.http].WhichOneof("pattern")]


RPCS = public_rpcs()


@pytest.fixture(scope="session")
def rpcs() -> list[Rpc]:
    """Every method of the public contract."""
    return RPCS


@pytest.fixture(params=RPCS, ids=lambda rpc: rpc.path)
def rpc(request: pytest.FixtureRequest) -> Rpc:
    """Each method of the public contract in turn."""
    return request.param


@pytest.fixture(params=[rpc for rpc in RPCS if "accounts" not in rpc.service], ids=lambda rpc: rpc.path)
def faked_rpc(request: pytest.FixtureRequest) -> Rpc:
    """Each method of the services other than accounts in turn."""
    return request.param
