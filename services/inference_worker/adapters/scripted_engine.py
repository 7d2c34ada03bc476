"""An engine that does no arithmetic and takes each step when it is told to: for following the worker step by step."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from services.inference_worker.domain.attempt import PeakMemory, Phase
from services.inference_worker.domain.errors import CheckpointRefused
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Engine, Listener, Moment, Plan, Rendered


class ScriptedEngine:
    """Makes grey videos, each frame a little lighter. Inputs: width, height, num_frames, num_inference_steps, fps."""

    fingerprint = {"engine": "scripted"}  # noqa: RUF012 — never changed
    free_inputs = frozenset({"fps"})

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._held = False
        self.is_waiting = False
        """Whether it waits to be allowed a step."""
        self.fails_with: Exception | None = None
        """Raised once after the last step."""
        self.frames_before_failing = 0
        """Frames that are shown before that."""
        self.has_room_to_make = False
        self.resumed_from: list[bytes | None] = []
        """What each render was told to go on from."""

    def hold(self) -> None:
        """From now on, wait for `allow` before each step."""
        self._held = True

    def allow(self, steps: int) -> None:
        """Let so many steps happen."""
        for _ in range(steps):
            self._allowed.release()

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """Say what will be made."""
        given = _with_defaults(inputs)
        return Plan(
            width=given["width"],
            height=given["height"],
            num_frames=given["num_frames"],
            fps=given["fps"],
            total_steps=given["num_inference_steps"],
            guess_seconds={Phase.ENCODING: 1.0, Phase.DENOISING: 6.0, Phase.DECODING: 2.0},
            mode="scripted",
            warnings=("made without arithmetic",),
        )

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video. A checkpoint is the number of steps that are done."""
        given, steps = _with_defaults(inputs), _with_defaults(inputs)["num_inference_steps"]
        self.resumed_from.append(resume_from)
        first = _steps_in(resume_from)
        frames = np.empty((given["num_frames"], given["height"], given["width"], 3), dtype=np.uint8)
        frames[:] = (128 + np.arange(given["num_frames"]) % 64).reshape(-1, 1, 1, 1)
        listener.report(Moment(Phase.ENCODING, 0.0))
        listener.report(Moment(Phase.DENOISING, first / steps, first, steps))
        for done in range(first + 1, steps + 1):
            if self._held:
                self._wait_to_be_allowed()
            listener.check()
            listener.report(
                Moment(
                    Phase.DENOISING,
                    done / steps,
                    done,
                    steps,
                    preview=lambda: frames[0],
                    checkpoint=lambda done=done: str(done).encode(),
                )
            )
            listener.check()
        listener.check()
        if error := self.fails_with:
            self.fails_with = None
            listener.show(frames[: self.frames_before_failing])
            raise error
        listener.report(Moment(Phase.DECODING, 0.0))
        listener.show(frames)
        listener.report(Moment(Phase.DECODING, 1.0))
        listener.check()
        return Rendered({Phase.DENOISING: PeakMemory(1000, 2000)})

    def _wait_to_be_allowed(self) -> None:
        if not self._allowed.acquire(blocking=False):
            self.is_waiting = True
            self._allowed.acquire()
            self.is_waiting = False

    def make_room(self) -> bool:
        """Take less memory, if told that this can be done."""
        had, self.has_room_to_make = self.has_room_to_make, False
        return had


def _with_defaults(inputs: Mapping[str, object]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 4, "fps": 7, **inputs}


def _steps_in(checkpoint: bytes | None) -> int:
    try:
        return int(checkpoint or b"0")
    except ValueError:
        raise CheckpointRefused("the checkpoint is damaged") from None


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
