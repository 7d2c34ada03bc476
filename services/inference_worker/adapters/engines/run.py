"""One render under way in an engine: what its listener is told, and what memory it takes."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.inference_worker.adapters.engines.device import finish
from services.inference_worker.adapters.engines.memory import MemoryMeter
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.ports import Listener, Moment, Plan, Rendered


class Run:
    """Tells a listener of the steps and frames of one render.

    `step_work` holds the work of each denoising step, in any unit: shares are of work, not of steps.
    """

    def __init__(self, plan: Plan, listener: Listener, device: torch.device, *, step_work: Sequence[float]) -> None:
        self._plan = plan
        self._listener = listener
        self._device = device
        self._memory = MemoryMeter(device)
        whole = sum(step_work) or 1.0
        self._share_after = [0.0, *(done / whole for done in accumulate(step_work))]
        self._share_after[-1] = 1.0
        self._done_steps = 0
        self._done_frames = 0

    @property
    def done_steps(self) -> int:
        """Steps that are finished."""
        return self._done_steps

    def check(self) -> None:
        """Raise RenderStopped when told to stop."""
        self._listener.check()

    def encoding(self, message: str) -> None:
        """Encoding of the inputs begins."""
        self.check()
        self._memory.enter(Phase.ENCODING)
        self._listener.report(Moment(Phase.ENCODING, 0.0, message=message))

    def denoising(self, done_steps: int = 0) -> None:
        """Denoising begins, after so many steps that a checkpoint has brought."""
        self.check()
        self._done_steps = done_steps
        self._memory.enter(Phase.DENOISING)
        self._tell_step("denoising begins" if done_steps == 0 else f"going on after step {done_steps}")

    def step(self, *, preview: Callable[[], NDArray[np.uint8]], checkpoint: Callable[[], bytes]) -> None:
        """One more step was given to the device; returns once it is finished there."""
        self._memory.enter(Phase.DENOISING)
        finish(self._device)
        self._done_steps += 1
        message = f"step {self._done_steps} of {self._plan.total_steps}"
        self._tell_step(message, preview=preview, checkpoint=checkpoint)
        self.check()

    def decoding(self) -> None:
        """Decoding begins, or goes on after some denoising."""
        self.check()
        self._memory.enter(Phase.DECODING)
        self._tell_frames("decoding begins" if self._done_frames == 0 else "decoding goes on")

    def denoising_again(self) -> None:
        """Denoising goes on after some decoding."""
        self.check()
        self._memory.enter(Phase.DENOISING)
        self._tell_step("denoising goes on")

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Frames are finished: uint8 RGB, shape (frames, height, width, 3)."""
        self._done_frames += len(frames)
        self._listener.show(frames)
        self._tell_frames(f"decoded {self._done_frames} of {self._plan.num_frames} frames")
        self.check()

    def finish(self) -> Rendered:
        """What is known at the end."""
        return Rendered(peak_memory=self._memory.peaks())

    def _tell_step(self, message: str, **offers: Any) -> None:
        self._listener.report(
            Moment(
                Phase.DENOISING,
                self._share_after[self._done_steps],
                self._done_steps,
                self._plan.total_steps,
                message,
                **offers,
            )
        )

    def _tell_frames(self, message: str) -> None:
        self._listener.report(Moment(Phase.DECODING, self._done_frames / self._plan.num_frames, message=message))
