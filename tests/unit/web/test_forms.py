"""The form of a version's inputs."""

import pytest

from services.web.domain.forms import fields_of, rules_of

SCHEMA = {
    "required": ["image"],
    "properties": {
        "seed": {"type": "integer", "minimum": 0.0, "maximum": 4294967295.0, "title": "Seed"},
        "prompt": {
            "type": "string",
            "maxLength": 2000,
            "title": "Prompt",
            "x-forge-ignored": "It has no text encoder.",
        },
        "width": {"type": "integer", "multipleOf": 64.0, "default": 1024.0, "title": "Width", "x-forge-unit": "px"},
        "image": {
            "type": "string",
            "x-forge-media": "image",
            "x-forge-media-types": ["image/png"],
            "maxLength": 16777216,
        },
        "mode": {"type": "string", "enum": ["sync", "causal"], "title": "Mode"},
        "quick": {"type": "boolean", "title": "Quick"},
        "style": {"type": "string", "maxLength": 20, "title": "Style"},
        "strength": {"type": "number", "default": 0.02, "title": "Strength"},
    },
    "x-forge-rules": [{"text": "must be at most width", "kind": "at_most_field", "fields": ["seed", "width"]}],
}
EXAMPLE = {"model": "m", "image": "data:…", "width": 512.0, "prompt": "a cat"}


@pytest.fixture
def fields():
    return {field.name: field for field in fields_of(SCHEMA, EXAMPLE)}


def test_every_input_becomes_one_field_and_nothing_else_does(fields):
    assert set(fields) == set(SCHEMA["properties"])


def test_what_is_required_or_in_the_example_comes_first_and_what_has_no_effect_last_among_it(fields):
    assert [field.name for field in fields.values() if field.is_main] == ["image", "width", "prompt"]
    assert list(fields)[:3] == ["image", "width", "prompt"]


def test_the_kind_of_a_field_follows_from_the_schema(fields):
    assert {name: field.kind for name, field in fields.items()} == {
        "seed": "integer",
        "prompt": "long_text",
        "width": "integer",
        "image": "image",
        "mode": "choice",
        "quick": "switch",
        "style": "text",
        "strength": "number",
    }


def test_whole_numbers_have_no_point(fields):
    width, seed = fields["width"], fields["seed"]
    assert [str(width.value), width.placeholder, str(width.step)] == ["512", "1024", "64"]
    assert str(seed.maximum) == "4294967295"
    assert fields["strength"].placeholder == "0.02"


def test_a_field_without_an_example_is_empty_and_shows_its_default(fields):
    assert fields["strength"].value is None
    assert fields["seed"].placeholder == ""


def test_rules_name_what_they_are_about():
    assert rules_of(SCHEMA) == ["Seed must be at most width."]


def test_an_empty_schema_has_an_empty_form():
    assert fields_of({}, {}) == []
    assert rules_of({}) == []
