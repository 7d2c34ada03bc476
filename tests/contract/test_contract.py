"""What the contract promises about itself, and what the code must not promise beyond it."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from forge.common.v1 import access_pb2, errors_pb2
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from services.accounts.domain import SCOPES
from services.chassis.config import REPOSITORY
from services.chassis.identity import IMPLIED_SCOPES, SERVICE_SCOPE, required_scope
from services.chassis.server import public_services

PUBLIC = [name for name in public_services() if name.startswith("forge.")]


@pytest.fixture(scope="module", autouse=True)
def _loaded_contract() -> None:
    for path in (REPOSITORY / "gen").rglob("*_pb2.py"):
        __import__(str(path.relative_to(REPOSITORY / "gen").with_suffix("")).replace("/", "."))


def methods() -> Iterator[MethodDescriptor]:
    pool = descriptor_pool.Default()
    for service in PUBLIC:
        yield from pool.FindServiceByName(service).methods


def http_rule(method: MethodDescriptor) -> Any:
    extension: Any = annotations_pb2.http  # typed as a plain field by the library
    return method.GetOptions().Extensions[extension]


def test_every_public_rpc_says_which_scope_it_needs():
    for method in methods():
        scope = method.GetOptions().Extensions[access_pb2.required_scope]
        assert scope in IMPLIED_SCOPES, method.full_name
        assert required_scope(f"/{method.containing_service.full_name}/{method.name}") == scope


def test_every_public_rpc_has_a_rest_route_under_v1_of_its_own():
    routes = []
    for method in methods():
        rule = http_rule(method)
        verb = rule.WhichOneof("pattern")
        path = getattr(rule, verb)
        assert path.startswith("/v1/"), method.full_name
        routes.append((verb, re.sub(r"{[^}]+}", "{}", path)))
    assert len(routes) == len(set(routes))


INTERNAL = (
    "forge.worker.v1.WorkerService",
    "forge.catalog.v1.LedgerService",
    "forge.billing.v1.MeteringService",
    "forge.scheduler.v1.IntakeService",
)


@pytest.mark.parametrize("name", INTERNAL)
def test_what_services_ask_each_other_is_not_public_in_any_part(name: str):
    assert name not in PUBLIC
    for method in descriptor_pool.Default().FindServiceByName(name).methods:
        assert method.GetOptions().Extensions[access_pb2.required_scope] in ("", SERVICE_SCOPE)
        assert not http_rule(method).WhichOneof("pattern"), method.full_name


def test_no_key_may_do_what_services_ask_each_other():
    assert not [held for held, implied in IMPLIED_SCOPES.items() if SERVICE_SCOPE in implied and held != SERVICE_SCOPE]
    assert SERVICE_SCOPE not in SCOPES


# What is asked with a body although it changes nothing.
ASKED_WITH_A_BODY = {"forge.billing.v1.BillingEstimateService.EstimateInput"}


def test_only_what_changes_nothing_is_open_to_a_key_that_may_only_read():
    for method in methods():
        rule = http_rule(method)
        is_reading = method.GetOptions().Extensions[access_pb2.required_scope] == "read"
        if is_reading and method.full_name not in ASKED_WITH_A_BODY:
            assert rule.WhichOneof("pattern") == "get", method.full_name


def reasons_in_code() -> set[str]:
    """What classes of errors call themselves, and reasons given where errors are made."""
    found: set[str] = set()
    for path in (REPOSITORY / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Assign(targets=[ast.Name(id="reason")], value=ast.Constant(value=str(reason))):
                    found.add(reason)
                case ast.keyword(arg="reason", value=ast.Constant(value=str(reason))):
                    found.add(reason)
    return found


def test_every_reason_the_code_gives_is_in_the_contract():
    known = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 — no mapping
    used = {reason for reason in reasons_in_code() if reason.isupper()}
    assert used <= known, used - known
    assert {"INVALID_INPUT", "RENDER_NOT_FOUND", "TARGET_NOT_OFFERED"} <= used
