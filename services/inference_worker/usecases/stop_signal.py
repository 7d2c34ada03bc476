"""How an attempt is told to stop: at once, or as soon as it has a checkpoint to go on from."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.inference_worker.domain.attempt import AttemptResult
from services.inference_worker.domain.errors import RenderStopped

Result = TypeVar("Result")


class StopSignal:
    """Given on the event loop, heeded on any thread. Of each kind the first one counts."""

    def __init__(self) -> None:
        self._given = asyncio.Event()
        self._result: AttemptResult | None = None
        self._at_checkpoint: AttemptResult | None = None

    def give(self, result: AttemptResult) -> None:
        """Stop at once; the attempt then ends with `result`."""
        if self._result is None:
            self._result = result
            self._given.set()

    def give_at_checkpoint(self, result: AttemptResult) -> None:
        """Stop after the next denoising step, with a checkpoint of it, and end with `result`; if none comes, go on."""
        self._at_checkpoint = self._at_checkpoint or result

    @property
    def result(self) -> AttemptResult | None:
        """How the attempt ends that was told to stop at once; None while it was not."""
        return self._result

    @property
    def result_at_checkpoint(self) -> AttemptResult | None:
        """How the attempt ends at its next checkpoint; None while it is to go on."""
        return self._at_checkpoint

    def check(self) -> None:
        """Raise RenderStopped when told to stop at once."""
        if self._result is not None:
            raise RenderStopped

    async def unless_given(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work`, but give it up and raise RenderStopped when told to stop at once."""
        working, told = asyncio.create_task(work), asyncio.create_task(self._given.wait())
        try:
            await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise RenderStopped
        finally:
            working.cancel()
            told.cancel()
