"""Rules of how long the parts of the platform may take to end."""

import pytest

from forge_cli.failures import CommandFailed
from forge_cli.stop_times import stop_times


def test_the_scheduler_has_time_for_its_calls_its_drain_and_its_workers():
    usual = stop_times({})
    given = {"FORGE_DRAIN_SECONDS": "600", "FORGE_WORKER_STOP_SECONDS": "20", "FORGE_SHUTDOWN_GRACE_SECONDS": "2.5"}
    assert stop_times(given).scheduler - usual.scheduler == (600 - 0) + (20 - 8) + (2.5 - 5)
    assert usual.scheduler > 5 + 0 + 8


def test_everything_takes_as_long_as_its_parts_one_after_the_other():
    times = stop_times({"FORGE_DRAIN_SECONDS": "100"})
    assert times.everything > times.edge + times.scheduler + times.other_services


def test_calls_under_way_get_the_grace_that_services_give_theirs():
    assert stop_times({}).calls == 5
    assert stop_times({"FORGE_SHUTDOWN_GRACE_SECONDS": "0"}).calls == 0


@pytest.mark.parametrize("given", ["", "soon", "-1", "nan", "inf"])
def test_a_setting_that_is_no_number_of_seconds_is_named(given):
    with pytest.raises(CommandFailed, match="FORGE_DRAIN_SECONDS is no number of seconds"):
        stop_times({"FORGE_DRAIN_SECONDS": given})
