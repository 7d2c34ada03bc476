"""What documents say of probes runs as it stands there, with a model and a target that there are here."""

import pytest

from tests.documented import SHELLS, blocks, commands, lines
from tests.platforms import SKYREELS

pytestmark = pytest.mark.only_full_size

REAL = {"my-model": SKYREELS, "H200@eu-north2": "CPU@local", "6": "3"}
PROBES = [
    words[1:]
    for block in blocks()
    if block.language in SHELLS
    for line in lines(block.text)
    for words in commands(line, block.language)
    if words[0].endswith("forge") and words[1:2] == ["probe"]
]


def test_there_are_probes_to_run():
    assert len(PROBES) >= 3


@pytest.mark.parametrize("words", PROBES, ids=" ".join)
def test_a_documented_probe_runs(words, platform):
    assert platform.forge(*[REAL.get(word, word) for word in words]).stdout
