"""Rules of how typed text becomes an inference body."""

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.inputs import build_inputs, data_uri, image_field, parse_value, sniff


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("25", {"type": "integer"}, 25),
        ("-3", {"type": "integer"}, -3),
        ("7", {"type": "number"}, 7.0),
        ("1e-3", {"type": "number"}, 0.001),
        ("yes", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        ("25", {"type": "string"}, "25"),
        ("null", {"type": ["string", "null"]}, None),
        ("5", {"type": ["integer", "null"]}, 5),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 5),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("b", {"enum": ["a", "b"]}, "b"),
        ("unknown=stays=text", {}, "unknown=stays=text"),
    ],
)
def test_values_get_the_type_of_their_field(text, schema, value):
    parsed = parse_value(text, schema)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"), [("7.5", "integer"), ("x", "number"), ("2", "boolean"), ("{", "object"), ("²", "integer")]
)
def test_a_value_of_another_type_is_refused(text, kind):
    with pytest.raises(ValueError, match="must be"):
        parse_value(text, {"type": kind})


def test_a_pair_without_a_name_and_a_name_given_twice_are_both_told():
    with pytest.raises(CommandFailed) as refused:
        build_inputs({"properties": {"a": {}}}, ["prompt", "a=1", "a=2"], None, slug="toy")
    assert len(refused.value.facts) == 2


def test_an_image_for_a_model_without_one_is_refused(tmp_path):
    with pytest.raises(CommandFailed) as refused:
        build_inputs({"properties": {"prompt": {"type": "string"}}}, [], tmp_path / "a.png", slug="toy")
    assert "toy takes no image" in refused.value.facts[0]


def test_the_field_for_the_image_is_the_one_the_schema_marks():
    assert image_field({"start": {"x-forge-media": "image"}, "image": {}}) == "start"
    assert image_field({"image": {}}) is None
    assert image_field({"prompt": {}}) is None


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"P6\n16 16\n255\n", "image/x-portable-pixmap"),
        (b"P3 1 1 1 0 0 0", "image/x-portable-pixmap"),
        (b"P60", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(data, media_type):
    assert sniff(data) == media_type


def test_a_file_that_is_no_image_or_no_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(CommandFailed, match="no image of a known kind"):
        data_uri(tmp_path / "a.png")
    with pytest.raises(CommandFailed, match="No such file"):
        data_uri(tmp_path / "b.png")


def test_a_name_the_model_does_not_know_is_told_with_the_one_that_was_meant():
    with pytest.raises(CommandFailed) as refused:
        build_inputs({"properties": {"prompt": {"type": "string"}}}, ["promt=x"], None, slug="toy")
    assert refused.value.facts == ("promt is not an input of this version; did you mean prompt?",)
