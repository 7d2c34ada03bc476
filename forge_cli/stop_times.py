"""How long each part of the platform may take to end before it is killed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from forge_cli.failures import CommandFailed

_MARGIN_SECONDS = 7.0  # a process under load, its last writes, its exit
# What the services take when nobody says anything else.
_DEFAULTS = {"FORGE_SHUTDOWN_GRACE_SECONDS": 5.0, "FORGE_DRAIN_SECONDS": 0.0, "FORGE_WORKER_STOP_SECONDS": 8.0}


@dataclass(frozen=True)
class StopTimes:
    """Seconds until each part is killed, and what calls under way are given before anything ends."""

    calls: float
    edge: float
    scheduler: float
    other_services: float

    @property
    def everything(self) -> float:
        """Until nothing is left, when each part takes all the time it has. They end one after the other."""
        return self.edge + self.scheduler + self.other_services + _MARGIN_SECONDS


def stop_times(environment: Mapping[str, str]) -> StopTimes:
    """The times that go with the services' settings. CommandFailed for a setting that is no number of seconds."""
    grace, drain, worker_stop = (_seconds(environment, name) for name in _DEFAULTS)
    return StopTimes(
        calls=grace,
        edge=5.0,
        # Calls first, then what its workers render, then the workers themselves.
        scheduler=grace + drain + worker_stop + _MARGIN_SECONDS,
        other_services=grace + _MARGIN_SECONDS,
    )


def _seconds(environment: Mapping[str, str], name: str) -> float:
    given = environment.get(name)
    if given is None:
        return _DEFAULTS[name]
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds >= 0):
        raise CommandFailed(f"{name} is no number of seconds: {given!r}", hints=[f"for example {name}=30"])
    return seconds
