"""What fuzzing once found, and examples of what is good: each is fed again."""

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

KEPT = [pytest.param(file, id=f"{file.parent.name}/{file.name}") for file in sorted(SEEDS.glob("*/*"))]


@pytest.mark.parametrize("file", KEPT)
def test_what_was_kept_is_taken_or_refused(file):
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_something_to_begin_with():
    assert {file.parent.name for file in SEEDS.glob("*/*")} == set(TARGETS)
