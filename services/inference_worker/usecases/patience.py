"""Waiting for work no longer than the clock says."""

import asyncio
from collections.abc import Iterable
from typing import Any

from services.chassis.clock import Clock


async def ended_within(seconds: float, work: Iterable[asyncio.Future[Any]], clock: Clock) -> bool:
    """Wait until all of `work` has ended, however it does, or `seconds` are over; whether it has. It goes on if not."""
    pending = {future for future in work if not future.done()}
    if not pending:
        return True
    over = asyncio.create_task(clock.sleep(seconds))
    try:
        while pending and not over.done():
            _, left = await asyncio.wait({over, *pending}, return_when=asyncio.FIRST_COMPLETED)
            pending = left - {over}
    finally:
        over.cancel()
    return not pending
