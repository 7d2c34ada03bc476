"""What the contract says of the audit log: no RPC can change something without deciding whether it is kept."""

from collections.abc import Iterator
from typing import Any

import pytest
from forge.common.v1 import access_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from services.chassis.audit.contract import audited_names, audited_rpc
from services.chassis.config import REPOSITORY
from services.chassis.contract import descriptor_set


@pytest.fixture(scope="module", autouse=True)
def _loaded_contract() -> None:
    for path in (REPOSITORY / "gen").rglob("*_pb2.py"):
        __import__(str(path.relative_to(REPOSITORY / "gen").with_suffix("")).replace("/", "."))


def methods() -> Iterator[MethodDescriptor]:
    pool = descriptor_pool.Default()
    for file in descriptor_set().file:
        for service in file.service:
            yield from pool.FindServiceByName(f"{file.package}.{service.name}").methods


def options(method: MethodDescriptor) -> Any:
    return method.GetOptions()


def test_every_rpc_that_may_change_something_says_whether_it_is_audited():
    silent = [
        method.full_name
        for method in methods()
        if options(method).Extensions[access_pb2.required_scope] != "read"
        and not options(method).HasExtension(access_pb2.audited)
    ]
    assert not silent


def test_what_only_reads_is_not_audited():
    for method in methods():
        if options(method).Extensions[access_pb2.required_scope] == "read":
            assert not options(method).Extensions[access_pb2.audited], method.full_name


def test_every_audited_rpc_names_what_it_changes_by_fields_that_are_there():
    assert len(audited_names()) > 15
    for name in audited_names():
        rpc = audited_rpc(f"/{name}")
        assert rpc is not None, name
        assert rpc.fields, name
        method = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))
        for path in rpc.fields:
            part, *fields = path.split(".")
            message = {"request": method.input_type, "response": method.output_type}[part]
            assert leads_to_a_name(message, fields), f"{name}: {path}"


def leads_to_a_name(message: Descriptor, fields: list[str]) -> bool:
    """Whether a path of fields ends at a string that is called as identifiers and slugs are."""
    for name in fields[:-1]:
        inner = message.fields_by_name[name].message_type
        assert inner is not None
        message = inner
    last = message.fields_by_name[fields[-1]]
    return last.type == last.TYPE_STRING and (last.name == "slug" or last.name == "id" or last.name.endswith("_id"))


def test_what_is_audited_is_over_when_it_has_answered():
    for name in audited_names():
        method = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))
        assert not method.client_streaming, name
        assert not method.server_streaming, name


def test_no_rpc_names_resources_that_nobody_keeps():
    for method in methods():
        if options(method).Extensions[access_pb2.audited_resource]:
            assert options(method).Extensions[access_pb2.audited], method.full_name
