"""The reference of the API."""

import re

import pytest
from forge.common.v1 import access_pb2, errors_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.chassis.config import REPOSITORY
from services.web.adapters.contract_reference import reference
from services.web.domain.reference import Call, Type, place_of
from tests.unit.web.conftest import Browser
from tests.unit.web.markup import faults, read

CONTRACT = FileDescriptorSet.FromString((REPOSITORY / "gen" / "forge.binpb").read_bytes())
SCOPES = {
    f"{file.package}.{service.name}.{method.name}": method.options.Extensions[access_pb2.required_scope]
    for file in CONTRACT.file
    for service in file.service
    for method in service.method
}
PUBLIC = {name for name, scope in SCOPES.items() if scope in ("read", "inference", "admin")}


def calls() -> dict[str, Call]:
    return {call.full_name: call for service in reference().services for call in service.calls}


def test_every_public_call_of_the_contract_is_there_and_no_other() -> None:
    assert set(calls()) == PUBLIC
    assert len(PUBLIC) > 40


def test_every_call_says_what_it_does_with_which_scope_and_where() -> None:
    for call in calls().values():
        assert call.comment
        assert call.scope == SCOPES[call.full_name]
        assert call.http_path.startswith("/v1/")


def test_every_field_and_message_has_its_comment() -> None:
    for call in calls().values():
        assert all(field.comment for field in call.request), call.full_name
    for message in reference().messages.values():
        assert message.comment, message.full_name
        assert all(field.comment for field in message.fields), message.full_name


def test_every_message_that_is_linked_to_is_there() -> None:
    found = reference()
    types = [call.response for call in calls().values()]
    types += [field.type for call in calls().values() for field in call.request]
    types += [field.type for message in found.messages.values() for field in message.fields]

    assert {linked.message for linked in types if linked.message} == set(found.messages)


def test_fields_are_where_rest_has_them() -> None:
    estimate = calls()["forge.billing.v1.BillingEstimateService.EstimateInput"]
    usage = calls()["forge.billing.v1.BillingEstimateService.GetUsage"]
    key = calls()["forge.accounts.v1.AccountService.CreateApiKey"]

    assert {field.name: field.place for field in estimate.request} == {"slug": "path", "input": "body"}
    assert {field.place for field in usage.request} == {"query"}
    assert {field.place for field in key.request} == {"body"}
    assert (key.http_method, key.http_path) == ("POST", "/v1/api-keys")
    assert key.grpc_path == "/forge.accounts.v1.AccountService/CreateApiKey"


@pytest.mark.parametrize(
    ("field", "path", "body", "place"),
    [
        ("id", "/v1/x/{id}", "*", "path"),
        ("id", "/v1/x/{id=**}", "", "path"),
        ("a", "/v1/x", "", "query"),
        ("a", "/v1/x", "*", "body"),
        ("a", "/v1/x", "a", "body"),
        ("b", "/v1/x", "a", "query"),
    ],
)
def test_the_path_comes_before_the_body_and_the_query_is_what_is_left(
    field: str, path: str, body: str, place: str
) -> None:
    assert place_of(field, path, body) == place


def test_types_are_in_words() -> None:
    row = {field.name: field for field in reference().messages["forge.catalog.v1.TargetRow"].fields}
    key = {field.name: field for field in reference().messages["forge.accounts.v1.ApiKey"].fields}

    assert row["failure_reason_counts"].type == Type("map of string to int32")
    assert row["published"].type == Type("PublishedFigure", "forge.catalog.v1.PublishedFigure")
    assert row["request_ms"].is_optional
    assert key["scopes"].type == Type("list of string")
    assert key["created_at"].type == Type("time, RFC 3339")


def test_a_stream_is_said_to_be_one() -> None:
    assert calls()["forge.scheduler.v1.RenderService.WatchRender"].is_stream
    assert not calls()["forge.scheduler.v1.RenderService.GetRender"].is_stream


def test_every_reason_of_an_error_is_there_as_it_is_on_the_wire() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number}

    assert {reason.name for reason in reference().reasons} == names
    assert all(reason.comment for reason in reference().reasons)


def test_every_reason_of_an_error_says_what_happened_and_what_to_do_about_it() -> None:
    for reason in reference().reasons:
        assert reason.meaning, reason.name
        assert reason.remedy, f'{reason.name}: its comment needs a last sentence "Remedy: …"'
        assert (reason.http_status is None) == (reason.grpc_code == ""), reason.name
    found = {reason.name: reason for reason in reference().reasons}
    assert (found["RATE_LIMITED"].grpc_code, found["RATE_LIMITED"].http_status) == ("RESOURCE_EXHAUSTED", 429)
    assert found["ENGINE_FAILED"].http_status is None


async def test_the_page_shows_all_of_it_and_every_link_within_leads_somewhere(browser: Browser) -> None:
    answer = await browser.open("/docs/api")
    page = read(answer.text)

    assert faults(answer.text) == []
    assert {*PUBLIC, *reference().messages} <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert re.search(r'method-delete">DELETE</span> <code>/v1/api-keys/\{id\}</code>', answer.text)
