"""What the documents show to be copied: every command is one that there is, every other text is what it says it is."""

import ast
import json

import pytest
import yaml

from docs.site.gather import ROOT, document_paths
from tests.documented import SHELLS, Block, blocks, commands, inline_commands
from tests.unit.documents.checking import fault_of, forge_fault

BLOCKS = blocks()
READ = {"python": ast.parse, "json": json.loads, "yaml": yaml.safe_load, "text": str}


def test_every_text_to_copy_says_its_language() -> None:
    assert len(BLOCKS) > 20
    assert [str(block) for block in BLOCKS if block.language not in (*SHELLS, *READ, "promql", "toml", "proto")] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in SHELLS], ids=str)
def test_every_command_of_a_document_is_one_that_there_is(block: Block) -> None:
    found = commands(block.text, block.language)
    assert found
    assert [(words, fault) for words in found if (fault := fault_of(words))] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in READ], ids=str)
def test_every_other_text_is_what_it_says_it_is(block: Block) -> None:
    READ[block.language](block.text)


@pytest.mark.parametrize("path", [path for path in document_paths() if path != "CHANGELOG.md"])  # that is history
def test_every_command_within_a_sentence_is_one_that_there_is(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    named = inline_commands(text, "forge") + inline_commands(text, "make")
    faults = [
        (call, fault)
        for call in named
        for words in commands(call)
        if (fault := forge_fault(words[1:], is_whole=False) if words[0] == "forge" else fault_of(words))
    ]
    assert faults == []


@pytest.mark.parametrize(
    "text",
    [
        "forge rendr x",
        "forge render",
        "forge render x --imagine cat.png",
        "forge keys create",
        "forge watch a b",
        "make nonsense",
        "curl -s $FORGE_API_BASE/v1/modells",
        "curl -s -X DELETE $FORGE_API_BASE/v1/models",
        "curl -s $FORGE_API_BASE/v1/models?nope=1",
        "curl -s $FORGE_API_BASE/v1/renders -d '{\"model\": }'",
        "curl -s https://example.com/v1/models",
        "python -m tests.nothing",
        "python -m tests.faults --nothing",
        "python examples/nothing.py",
        "pip install ./nothing",
        "unheard-of --help",
        "echo $(forge rendr x)",
        "true && forge rendr x | cat",
    ],
)
def test_a_command_that_there_is_not_is_found(text: str) -> None:
    assert [fault for words in commands(text) if (fault := fault_of(words))]


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = 'A=1 forge usage > out.txt 2>&1  # a comment\nforge render x \\\n  -p prompt="a; b" && forge usage\n'
    assert commands(text) == [["forge", "usage"], ["forge", "render", "x", "-p", "prompt=a; b"], ["forge", "usage"]]
    assert commands("$ forge usage\nmodel  cost\n", "console") == [["forge", "usage"]]
    assert commands("curl -d '{\n \"a\": 1}' x") == [["curl", "-d", '{\n "a": 1}', "x"]]
    with pytest.raises(ValueError, match="here documents"):
        commands("cat <<EOF\nEOF\n")
