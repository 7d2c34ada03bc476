"""A service as a process: private files, logs, traces, a way to be stopped, and wrong configuration told in words."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import uvloop
from opentelemetry import metrics

from services.chassis.config import ChassisSettings, Settings, read_settings
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.telemetry import telemetry

_LAG_EVERY_SECONDS = 1.0
_LAG_BOUNDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(service: str, settings: ChassisSettings, serve: Serve) -> None:
    """Run `serve` to its end. The event it gets is set when the process is told to stop, however early that is.

    A wrong configuration ends the process with a list of its faults.
    """
    os.umask(0o077)
    with telemetry(service, settings):
        try:
            uvloop.run(_listening_for_signals(serve))
        except ConfigurationInvalid as error:
            _end(error)


def settings_of(kind: type[Settings]) -> Settings:
    """Settings from the environment. Wrong ones end the process with a list of their faults."""
    try:
        return read_settings(kind)
    except ConfigurationInvalid as error:
        _end(error)


def _end(error: ConfigurationInvalid) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    sys.exit(os.EX_CONFIG)


async def _listening_for_signals(serve: Serve) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    measuring = asyncio.create_task(_measure_lag(loop))
    try:
        await serve(told_to_stop)
    finally:
        measuring.cancel()


async def _measure_lag(loop: asyncio.AbstractEventLoop) -> None:
    """Measure, now and then, how late the event loop comes to what is due."""
    lag = metrics.get_meter("forge.chassis").create_histogram(
        "forge.event_loop.lag",
        unit="s",
        description="How late the event loop comes to what is due",
        explicit_bucket_boundaries_advisory=_LAG_BOUNDS,
    )
    while True:
        due = loop.time() + _LAG_EVERY_SECONDS
        await asyncio.sleep(_LAG_EVERY_SECONDS)
        lag.record(max(0.0, loop.time() - due))
