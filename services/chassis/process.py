"""A service as a process: private files, logs, traces, a way to be stopped, and wrong configuration told in words."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from services.chassis.config import ChassisSettings
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.telemetry import telemetry

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(service: str, settings: ChassisSettings, serve: Serve) -> None:
    """Run `serve` to its end. The event it gets is set when the process is told to stop, however early that is.

    A wrong configuration ends the process with a list of its faults.
    """
    os.umask(0o077)
    with telemetry(service, settings.otlp_endpoint):
        try:
            uvloop.run(_listening_for_signals(serve))
        except ConfigurationInvalid as error:
            sys.exit(str(error))


async def _listening_for_signals(serve: Serve) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    await serve(told_to_stop)
