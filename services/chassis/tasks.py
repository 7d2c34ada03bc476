"""Work in the background, work that must not be cut off in the middle, and waiting for news or for a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

from services.chassis.clock import Clock

T = TypeVar("T")


async def uninterrupted(work: Awaitable[T]) -> T:
    """Let `work` run to its end although its caller is canceled meanwhile; the cancelation is raised after that."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # looked at, so that nobody reports it as overlooked
        raise


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], *, on_failure: Callable[[], None]) -> AsyncIterator[None]:
    """Do `work`, which ends only when it fails, until the block ends.

    `on_failure` is called when it ends by itself: the block must then end too, and raises what happened.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: on_failure())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def entered(context: AbstractAsyncContextManager[object]) -> None:
    """Be within a context until canceled."""
    async with context:
        await asyncio.Event().wait()


async def set_or_after(news: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Return once `news` is set, or after `seconds` on the clock."""
    waiting = [asyncio.create_task(news.wait()), asyncio.create_task(clock.sleep(seconds))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
