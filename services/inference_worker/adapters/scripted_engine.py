"""An engine that does no arithmetic and takes each step when it is told to: for following the worker step by step."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Clip, Engine, Moment, Report, Stop


class ScriptedEngine:
    """Makes grey clips. Inputs: width, height, num_frames, num_inference_steps, fps; all may be left out."""

    shares = {Phase.ENCODING: 1.0, Phase.DENOISING: 6.0, Phase.DECODING: 2.0, Phase.MUXING: 1.0, Phase.STORING: 0.0}  # noqa: RUF012 — never changed

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._held = False
        self.fails_with: Exception | None = None
        """Raised instead of decoding."""

    def hold(self) -> None:
        """From now on, wait for `allow` before each step."""
        self._held = True

    def allow(self, steps: int) -> None:
        """Let so many steps happen."""
        for _ in range(steps):
            self._allowed.release()

    def render(self, inputs: Mapping[str, object], report: Report, stop: Stop) -> Clip:
        """Make a clip."""
        given: dict[str, Any] = {
            "width": 64,
            "height": 64,
            "num_frames": 5,
            "num_inference_steps": 4,
            "fps": 7,
            **inputs,
        }
        steps = given["num_inference_steps"]
        report(Moment(Phase.ENCODING, 0.0))
        report(Moment(Phase.DENOISING, 0.0, 0, steps))
        for done in range(1, steps + 1):
            if self._held:
                self._allowed.acquire()
            stop.check()
            report(Moment(Phase.DENOISING, done / steps, done, steps))
        stop.check()
        if self.fails_with:
            raise self.fails_with
        report(Moment(Phase.DECODING, 0.0))
        report(Moment(Phase.DECODING, 1.0))
        stop.check()
        frames = np.full((given["num_frames"], given["height"], given["width"], 3), 128, dtype=np.uint8)
        return Clip(frames, given["fps"], ("made without arithmetic",))


class ScriptedEngineLoader:
    """Loads a given engine, or fails as told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fails_with: Exception | None = None
        self.loads = 0

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """The engine."""
        self.loads += 1
        report(StartMoment(StartPhase.IMPORTS, "importing nothing"))
        if self.fails_with:
            raise self.fails_with
        report(StartMoment(StartPhase.WEIGHTS, f"loading {version.slug}", 0, 1))
        return self._engine
