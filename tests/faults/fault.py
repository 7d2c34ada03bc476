"""What a fault is, how it is tried, and the row of the table that comes of it."""

import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.faults.ground import Ground, Missed, NotHere
from tests.faults.promises import Findings
from tests.faults.settings import Setting

Trial = Callable[[Ground, Random], float | None]
"""Does something bad to a platform and sees that it holds the pass line, which is the docstring; else raises Missed.

Gives the seconds until the platform had recovered, None where nothing has to.
"""


@dataclass(frozen=True)
class Fault:
    """Something bad, where it is done, and how often: in full, and in the quick cut, where 0 leaves it out."""

    name: str
    trial: Trial
    setting: Setting
    full: int
    quick: int = 1
    is_sized: bool = False
    """Whether `--rounds` says how often."""

    @property
    def pass_line(self) -> str:
        """What must hold."""
        return " ".join((self.trial.__doc__ or "").split())


@dataclass
class Row:
    """What came of one fault."""

    fault: str
    tries: int = 0
    findings: Findings = field(default_factory=Findings)
    recovery_seconds: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """Whether no pass line and no promise was missed."""
        return not self.missed and not self.findings

    def complaint(self, fault: Fault) -> str:
        """What was missed of what must hold."""
        return f"{fault.pass_line}\n" + "\n".join((*self.missed, *self.findings.lines()))

    def cells(self) -> list[str]:
        """Fault, tries, lost, duplicated, gaps, recovery p50 and maximum, verdict."""
        if self.skipped:
            return [self.fault, "0", "", "", "", "", "", f"not run: {self.skipped}"]
        median, longest = "", ""
        if self.recovery_seconds:
            median, longest = f"{statistics.median(self.recovery_seconds):.2f}", f"{max(self.recovery_seconds):.2f}"
        counts = (len(self.findings.lost), len(self.findings.duplicated), len(self.findings.gaps))
        return [
            self.fault,
            str(self.tries),
            *map(str, counts),
            median,
            longest,
            "holds" if self.holds else "**missed**",
        ]


COLUMNS = ("fault", "tries", "lost", "duplicated", "gaps", "recovery p50 s", "max s", "")


def try_out(fault: Fault, ground: Ground, *, tries: int, seed: str, say: Callable[[str], None] = print) -> Row:
    """Try a fault so many times; after each one every render must have ended and every promise must hold."""
    row = Row(fault.name)
    for number in range(1, tries + 1):
        name = f"{seed}/{fault.name}/{number}"
        began = time.monotonic()
        ground.begin()
        try:
            recovered = fault.trial(ground, Random(name))
            if recovered is not None:
                row.recovery_seconds.append(recovered)
        except NotHere as reason:
            row.skipped = str(reason)
            return row
        except Exception as error:  # whatever it is, the trial did not show what it should, and the others still can
            row.missed.append(f"{name}: {error if isinstance(error, Missed) else traceback.format_exc()}")
            say(f"  missed: {row.missed[-1]}")
        finally:
            ground.undo()
        found = ground.settle()
        row.findings += found
        row.tries = number
        for line in found.lines():
            say(f"  {name}: {line}")
        for remark in ground.remarks:
            say(f"  {remark}")
        say(f"  {number}/{tries} took {time.monotonic() - began:.1f} s")
    return row
