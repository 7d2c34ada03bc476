"""The character that no request may hold."""

import pytest
from forge.accounts.v1 import account_service_pb2
from forge.scheduler.v1 import render_service_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from services.chassis.characters import check_characters
from services.chassis.errors import InvalidInput


def fields_of(message: Message) -> list[str]:
    try:
        check_characters(message, message.SerializeToString())
    except InvalidInput as refusal:
        return [violation.field for violation in refusal.violations]
    return []


def of_render(**body: object) -> Message:
    return render_service_pb2.CreateRenderRequest(input=ParseDict(body, Struct()))


def test_what_holds_none_may_pass():
    assert fields_of(of_render(prompt="a\x01\n日本", width=0, deep={"list": [0, "", None, {}]})) == []
    assert fields_of(account_service_pb2.CreateApiKeyRequest()) == []


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (account_service_pb2.CreateApiKeyRequest(name="\0"), ["name"]),
        (account_service_pb2.CreateApiKeyRequest(name="a", scopes=["read", "a\0"]), ["scopes[1]"]),
        (of_render(prompt="a\0b"), ["prompt"]),
        (of_render(prompt="a\0b", request_id="\0"), ["prompt", "request_id"]),
        (of_render(deep={"deeper": ["a", {"b": "\0"}]}), ["deep.deeper[1].b"]),
        (of_render(**{"a\0b": 1}), ["a\ufffdb"]),
        (
            FileDescriptorProto(message_type=[DescriptorProto(), DescriptorProto(name="\0")]),
            ["message_type[1].name"],
        ),
    ],
)
def test_each_field_that_holds_it_is_named(message: Message, fields: list[str]):
    assert fields_of(message) == fields
