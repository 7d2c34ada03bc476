"""Rules of `forge snippets`."""

import json
from typing import Any

import pytest
from forge.catalog.v1.catalog_service_pb2 import GetSnippetsRequest
from forge.catalog.v1.snippet_pb2 import Snippet, Snippets

from tests.unit.forge_cli import fake_platform

TEXT = "(\necho [bold]'a  very long line' " + "x" * 300 + "\n)\n"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GetSnippetsRequest]:
    """What the fake platform is asked; it knows a check and an env."""
    found: list[GetSnippetsRequest] = []

    def answer(self: fake_platform.Catalog, request: GetSnippetsRequest, context: Any) -> Snippets:
        self.platform.admit(context)
        found.append(request)
        known = [
            Snippet(kind="env", title="Project .env", language="dotenv", filename=".env", text="A=1\n"),
            Snippet(kind="check", title="A check", language="shell", filename="check.sh", text=TEXT),
        ]
        return Snippets(slug="toy", snippets=[each for each in known if request.kind in ("", each.kind)])

    monkeypatch.setattr(fake_platform.Catalog, "GetSnippets", answer)
    return found


def test_without_a_kind_the_kinds_are_listed(run, asked):
    listed = run("snippets", "toy").stdout.splitlines()
    assert listed[0].split() == ["KIND", "TITLE", "LANGUAGE", "FILE"]
    assert [line.split()[0] for line in listed[1:]] == ["env", "check"]
    assert "A check" in listed[2]
    assert asked[0].kind == ""


def test_a_kind_is_printed_as_it_is_and_nothing_else(run):
    assert run("snippets", "toy", "--kind", "check").stdout == TEXT


def test_the_selection_and_the_address_are_passed_on(run, asked, platform):
    run("snippets", "toy", "--version", "v2", "--gpu-type", "H200", "--region", "eu-north2", "--kind", "env")
    run("snippets", "toy", "--base-url", "https://a.test/v1")
    run("snippets", "toy", "--base-url", "")
    pinned, addressed, placeholder = asked
    assert (pinned.model_version, pinned.gpu_type, pinned.region, pinned.kind) == ("v2", "H200", "eu-north2", "env")
    assert [each.base_url for each in (pinned, addressed, placeholder)] == [platform.address, "https://a.test/v1", ""]


def test_json_is_the_answer_of_the_api(run):
    shown = json.loads(run("snippets", "toy", "--json").stdout)
    assert [each["kind"] for each in shown["snippets"]] == ["env", "check"]
