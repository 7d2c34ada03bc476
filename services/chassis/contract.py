"""The contract as it is kept in `gen/`: descriptors of every message and RPC."""

from functools import cache

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.chassis.config import REPOSITORY


@cache
def descriptor_set() -> FileDescriptorSet:
    """Every file of the contract and what these import."""
    return FileDescriptorSet.FromString((REPOSITORY / "gen" / "forge.binpb").read_bytes())
