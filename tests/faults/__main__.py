"""Every fault at full size: `python -m tests.faults [--only NAME] [--rounds 200]`."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.faults import disks
from tests.faults.fault import COLUMNS, Fault, Row, try_out
from tests.faults.faults import FAULTS
from tests.faults.ground import ground
from tests.faults.settings import quick


def main() -> int:
    """Run them, print the table, and return 1 when a pass line or a promise was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="faults whose name contains this")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of kill -9 by dice [default: 200]")
    parser.add_argument("--tries", type=int, help="tries of every other fault [default: its own]")
    parser.add_argument("--seed", default="forge", help="what the dice are seeded with [default: forge]")
    parser.add_argument("--quick", action="store_true", help="the small sizes that the tests use")
    parser.add_argument("--list", action="store_true", help="only say what there is, with its pass line")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if not options.only or any(part in fault.name for part in options.only)]
    if options.list:
        for fault in chosen:
            say(f"{fault.name}\n    {fault.pass_line}")
        return 0
    if options.quick:
        chosen = [fault for fault in chosen if fault.quick]
    disks.enter_a_namespace()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="forge-faults-") as root:
        for setting, faults in groupby(
            chosen, key=lambda fault: quick(fault.setting) if options.quick else fault.setting
        ):
            with ground(setting, Path(root) / f"{setting.name}-{len(rows)}", is_quick=options.quick) as at:
                for fault in faults:
                    say(f"{fault.name}")
                    rows.append(try_out(fault, at, tries=_tries(fault, options), seed=options.seed, say=say))
                    say(f"  {' | '.join(rows[-1].cells())}")
    say("\n" + table([row.cells() for row in rows]))
    missed = [row for row in rows if not row.holds]
    for row in missed:
        say("\n".join((f"\n{row.fault}:", *row.missed, *row.findings.lines())))
    return 1 if missed else 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tries(fault: Fault, options: argparse.Namespace) -> int:
    if fault.is_sized:
        return fault.quick if options.quick else options.rounds
    return options.tries or (fault.quick if options.quick else fault.full)


if __name__ == "__main__":
    sys.exit(main())
