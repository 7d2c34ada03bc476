"""As much of grpcurl as the snippets use, over the same reflection: describe, and calls with a message or a stream."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

parser = argparse.ArgumentParser()
parser.add_argument("-plaintext", choices=["true"])
parser.add_argument("-max-time", type=float)
parser.add_argument("-H", dest="header")
parser.add_argument("-d", dest="data")
parser.add_argument("rest", nargs="+")


class WithHeader(grpc.StreamStreamClientInterceptor):
    """Sends the header with reflection too, as grpcurl does."""

    def __init__(self, header: tuple[str, str]) -> None:
        self._header = header

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(client_call_details._replace(metadata=[self._header]), request_iterator)


def main() -> None:
    options = parser.parse_args()
    address, *verb, symbol = options.rest
    name, _, value = options.header.partition(": ")
    header = (name, value)
    with grpc.insecure_channel(address) as channel:
        reflection = grpc.intercept_channel(channel, WithHeader(header))
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(reflection))
        service = pool.FindServiceByName(symbol.split("/")[0])
        if verb == ["describe"]:
            methods = ", ".join(method.name for method in service.methods)
            sys.stdout.write(f"{service.full_name} is a service: {methods}\n")
            return
        method = service.methods_by_name[symbol.split("/")[1]]
        request = GetMessageClass(method.input_type)()
        json_format.Parse(sys.stdin.read() if options.data == "@" else options.data, request)
        open_call: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = open_call(
            f"/{symbol}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(request, timeout=options.max_time, metadata=(header,))
        answers: Iterable[Any] = answer if method.server_streaming else [answer]
        for each in answers:
            sys.stdout.write(json_format.MessageToJson(each) + "\n")


main()
