"""The quick cut of the faults of a Ray cluster, beside the others since it takes a cluster of its own."""

import pytest

from tests.faults.fault import Fault, try_out
from tests.faults.faults import FAULTS
from tests.faults.ground import Ground

CASES = [pytest.param(fault, id=fault.name) for fault in FAULTS if fault.quick and fault.setting.is_on_cluster]


@pytest.mark.slow
@pytest.mark.parametrize("fault", CASES)
def test_every_promise_holds_through(at_cluster: Ground, fault: Fault):
    row = try_out(fault, at_cluster, tries=fault.quick, seed="quick")
    assert row.holds, row.complaint(fault)
