"""Follows a pipeline from outside: when its first model call comes, and how to leave it at the next one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.ports import Moment, Report, Stop


class Steps:
    """Counts the denoising steps of one render and reports them."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._begun = False

    def begin(self) -> None:
        """Denoising begins; only the first call says so."""
        if not self._begun:
            self._begun = True
            self._tell("denoising begins")

    def finish_one(self) -> None:
        """One more step is finished."""
        self._done += 1
        self._tell(f"step {self._done} of {self._total}")

    def _tell(self, message: str) -> None:
        self._report(Moment(Phase.DENOISING, self._done / self._total, self._done, self._total, message))


@contextmanager
def watched(model: torch.nn.Module, steps: Steps, stop: Stop) -> Iterator[None]:
    """Before every call of `model`: begin denoising, and leave when told to stop."""

    def before_call(_module: torch.nn.Module, _inputs: Any) -> None:
        stop.check()
        steps.begin()

    handle = model.register_forward_pre_hook(before_call)
    try:
        yield
    finally:
        handle.remove()


def after_step(
    steps: Steps, stop: Stop, finish: Callable[[], None]
) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """A `callback_on_step_end`: waits for the device, reports the step, and leaves when told to stop."""

    def callback(_pipeline: Any, _step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        finish()
        steps.finish_one()
        stop.check()
        return {}

    return callback
