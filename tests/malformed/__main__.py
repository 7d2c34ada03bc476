"""Sends malformed requests to a platform of its own and prints what came of it.

Use: python -m tests.malformed [--requests 10000] [--seed nightly]. Exits with 1 when something was found.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.malformed.cases import case, kept_cases, values_of
from tests.malformed.trial import attacked
from tests.platforms import Platform, running

GROWTH_MIB = 64.0
_WARM_UP = 1_000


def main() -> int:
    """Run, print, and say whether everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", default="full")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-malformed-") as root:
        subject = Platform(Path(root) / "home", "pages", {"FORGE_RATE_LIMIT_PER_SECOND": "0"})
        with running(subject):
            warm_up = [*kept_cases(), *(case(f"{options.seed}/warm-up", number) for number in range(_WARM_UP))]
            cases = (case(options.seed, number) for number in range(options.requests))
            found = attacked(subject, cases, warm_up=warm_up)
    _say(f"{found.requests} requests, {found.seconds:.0f} s after the warm-up")
    for name, count in sorted(found.answers.items()):
        _say(f"  {name:<28}{count:>7}")
    for name, growth in sorted(found.growth_mib.items()):
        _say(f"  {name:<28}{growth:>+7.1f} MiB")
    for wrong, answer in found.wrong:
        _say(f"WRONG {answer}: {json.dumps(values_of(wrong))}")
    for line in found.logged:
        _say(f"LOGGED {line}")
    _say(f"restarted: {found.restarted or 'nothing'}; a good request {'works' if found.is_well else 'FAILS'}")
    grown = [name for name, growth in found.growth_mib.items() if growth > GROWTH_MIB]
    return int(bool(found.wrong or found.logged or found.restarted or grown or not found.is_well))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
