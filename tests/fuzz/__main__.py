"""Feeds one target with what libFuzzer makes up, following which lines of ours it reaches.

Use: python -m tests.fuzz TARGET [libFuzzer's options, as -max_total_time=60]. What breaks the target is left in
build/fuzz; mend it, give the file a name that says what it found, and keep it under tests/fuzz/seeds/TARGET.
"""

import sys

import atheris

with atheris.instrument_imports(include=["services"], enable_loader_override=False):  # pyright: ignore[reportAttributeAccessIssue] — it has no types
    from tests.fuzz.targets import SEEDS, TARGETS

from services.chassis.config import REPOSITORY


def main() -> None:
    """Feed the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}")
    name = sys.argv[1]
    corpus, kept = REPOSITORY / "build" / "fuzz" / name, SEEDS / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-artifact_prefix={corpus.parent}/{name}-", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(corpus), str(kept)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
