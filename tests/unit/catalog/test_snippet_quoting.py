"""Snippets: no value gets out of its quotes, whatever is in it."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.domain import Pin
from services.catalog.domain.snippets import Selection
from tests.unit.catalog.snippet_bench import NODE, SHELL, Bench, javascript_body, python_body, sent, text_of

HOSTILE = (
    "'; touch canary; '",
    '"; touch canary; "',
    "$(touch canary)",
    "`touch canary`",
    "\ntouch canary\n",
    "; touch canary",
    "}; touch canary; {",
    "'}; touch canary; {'",
    "${PATH}",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "\\",
    "\\'",
    "'''",
    '"""',
    "`",
    "*/ //",
    "#",
    "a: b",
    "- a",
    "%s %q",
    "-rf",
    "~",
    "!!",
    "é 日本 😀 \u2028",
    "JSON\n",
    "a b",
    "&|<>",
    "@file",
    "\x7f",
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def hostile(value: str) -> Selection:
    example = {"prompt": value, value: value, "nested": [value]}
    return Selection(value, value, Pin(value, value), f"http://{value}", example)


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_gets_out_of_its_quotes_in_a_shell(bench: Bench, value: str) -> None:
    selection = hostile(value)
    bench.curl({}, code=22)  # it ends there: what it was asked is enough
    for name in ("docker", "nebius", "openssl", "grpcurl"):
        bench.command(name, "")
    for kind in SHELL:
        text = text_of(kind, selection)
        done = bench.run(text, FORGE_IMAGE="i", AUTH_TOKEN="t", SUBNET_ID="s")
        assert "syntax error" not in done.stderr
        assert not (bench.home / "canary").exists(), text
        if kind in ("check", "reliability", "estimate"):
            assert sent(bench.arguments()) == {"model_version": value, "gpu_type": value, "region": value}
        if kind == "warm_up":
            body = json.loads(bench.arguments()[-1])
            assert body == {"version": value, "gpu_type": value, "region": value, "run_until_stopped": False}
        if kind == "curl":
            assert json.loads((bench.home / "curl.stdin").read_text()) == selection.body
    for kind in ("setup", "env"):
        shown = bench.run(f'{text_of(kind, selection)}printf %s "$FORGE_GPU_TYPE$MODEL_OR_FAMILY_SLUG"')
        assert shown.stdout == value * 2
        assert not (bench.home / "canary").exists()


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_value_gets_out_of_its_quotes_in_a_program(value: str) -> None:
    selection = hostile(value)
    for kind in ("python", "python_grpc"):
        assert python_body(text_of(kind, selection)) == selection.body
    assert javascript_body(text_of("javascript", selection)) == selection.body
    _, deployment, _ = yaml.safe_load_all(text_of("kubernetes", selection))
    assert deployment["metadata"]["annotations"] == {"forge/model": value, "forge/model-version": value}


@pytest.mark.skipif(NODE is None, reason="node is not here")
def test_javascript_with_hostile_values_still_parses(bench: Bench) -> None:
    for value in HOSTILE:
        (bench.home / "it.js").write_text(text_of("javascript", hostile(value)))
        assert bench.run("", str(NODE), "--check", "it.js").returncode == 0, value
