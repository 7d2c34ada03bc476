"""The quick cut of every fault, against real processes; `make faults` tries them at full size."""

import subprocess
import sys

import pytest

from tests.faults import disks
from tests.faults.fault import Fault, try_out
from tests.faults.faults import FAULTS
from tests.faults.ground import Ground
from tests.platforms import REPOSITORY

CASES = [pytest.param(fault, id=fault.name) for fault in FAULTS if fault.quick and not fault.setting.is_on_cluster]


@pytest.mark.slow
@pytest.mark.parametrize("fault", CASES)
def test_every_promise_holds_through(request: pytest.FixtureRequest, fault: Fault):
    at: Ground = request.getfixturevalue("at_servers" if fault.setting.is_on_servers else "at")
    row = try_out(fault, at, tries=fault.quick, seed="quick")
    if row.skipped and fault.name.startswith("disk full") and disks.can_be_mounted_in_a_namespace():
        command = [sys.executable, "-m", "tests.faults", "--quick", "--only", fault.name]
        subprocess.run(command, cwd=REPOSITORY, check=True, timeout=250)
    elif row.skipped:
        pytest.skip(row.skipped)
    assert row.holds, row.complaint(fault)
