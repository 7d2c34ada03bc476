"""Reading configuration files."""

from pathlib import Path

import pytest

from services.chassis.strict_yaml import ConfigurationInvalid, StrictShape, read_document


class InnerShape(StrictShape):
    number: int


class OuterShape(StrictShape):
    name: str
    inner: list[InnerShape]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["f.yaml: is empty"]),
        ("name: a\ninner: [", ["f.yaml:2: expected the node content, but found '<stream end>'"]),
        ("name: a\ninner: []\nname: b\n", ["f.yaml:3: name: is given twice"]),
        (
            "name: a\ninner:\n- number: 1\n- number: one\n",
            ["f.yaml:4: inner[1].number: Input should be a valid integer"],
        ),
        ("name: a\ninner:\n- number: 1.5\n", ["f.yaml:3: inner[0].number: Input should be a valid integer"]),
        (
            "inner: []\nother: 1\n",
            ["f.yaml:1: name: Field required", "f.yaml:2: other: Extra inputs are not permitted"],
        ),
        ("name: 2026-13-45\ninner: []\n", ["f.yaml: month must be in 1..12"]),
        ("- 1\n", ["f.yaml: Input should be a valid dictionary or instance of OuterShape"]),
        ("? [a]\n: 1\n", ["f.yaml:1: found unhashable key"]),
    ],
)
def test_faults_name_file_line_and_field(tmp_path: Path, text: str, faults: list[str]) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationInvalid) as caught:
        read_document(path, OuterShape)
    assert [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults] == faults


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        read_document(tmp_path / "none.yaml", OuterShape)


def test_a_good_file_can_still_say_where_something_stands(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("# a comment\nname: a\ninner:\n  - number: 1\n  - number: 2\n")
    document = read_document(path, OuterShape)
    assert [inner.number for inner in document.content.inner] == [1, 2]
    assert document.fault(["inner", 1, "number"], "is even") == f"{path}:5: inner[1].number: is even"
