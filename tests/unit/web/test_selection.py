"""What a model's page is about stands in its address."""

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request

from services.web.pages.model import Selection
from services.web.pages.sign_in import _within


def a_request(query: str) -> Request:
    scope = {
        "type": "http",
        "path": "/models/m",
        "query_string": query.encode(),
        "headers": [],
        "path_params": {"slug": "m"},
    }
    return Request(scope)


def test_the_selection_is_read_from_the_address_and_written_back():
    address = "model_version=v&gpu_type=RTX+6000&region=eu%2Fnorth&baseline=B200%40us"
    selection = Selection.of(a_request(address))
    assert (selection.gpu_type, selection.region, selection.baseline) == ("RTX 6000", "eu/north", "B200@us")
    assert parse_qs(urlsplit(selection.address()).query) == parse_qs(address)
    assert selection.is_pinned


def test_version_is_another_name_of_model_version():
    assert Selection.of(a_request("version=v")).model_version == "v"


def test_a_link_changes_what_it_names_and_keeps_the_rest():
    selection = Selection("m", "v", "H200", "eu", "B200@us")
    assert selection.address("playground", gpu_type="", region="") == (
        "/models/m?model_version=v&baseline=B200%40us#playground"
    )
    assert Selection("m").address() == "/models/m"


def test_calls_of_the_api_have_the_pin_and_no_empty_fields():
    assert Selection("m", "v", "H200").api("reliability") == "/v1/models/m/reliability?model_version=v&gpu_type=H200"
    assert Selection("m").api("run-estimate") == "/v1/models/m/run-estimate"


@pytest.mark.parametrize("address", ["/", "/account", "/models/m?gpu_type=H200#playground"])
def test_signing_in_leads_back_within_the_site(address):
    assert _within(address) == address


@pytest.mark.parametrize(
    "address", ["", "x", "//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "///x"]
)
def test_signing_in_leads_nowhere_else(address):
    assert _within(address) == "/"
