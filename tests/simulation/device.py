"""A device that takes virtual time: the engine, the lane it runs on, and what makes files of its frames."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

from services.inference_worker.domain.attempt import PeakMemory, Phase
from services.inference_worker.domain.errors import CheckpointRefused, EngineFailed, OutOfMemory, WeightsUnavailable
from services.inference_worker.domain.version import StartMoment, StartPhase, Version
from services.inference_worker.ports import Engine, Listener, Moment, Plan, Rendered
from tests.simulation import film
from tests.simulation.record import Record

T = TypeVar("T")

_FOR_EVER_SECONDS = 1e6

POISON, BROKEN = "poison", "broken"
"""Prompts: one kills its worker, the other is more than the engine can do."""


@dataclass
class Temper:
    """How the devices behave. Probabilities are of one load or of one render."""

    rng: Random
    load_seconds: float
    step_seconds: float
    fails_load: float = 0.0
    runs_out_of_memory: float = 0.0
    fails: float = 0.0
    stalls: float = 0.0


@dataclass(frozen=True)
class _Trouble:
    """What a render runs into after a step; the one after the last is in the middle of decoding."""

    at_step: int
    is_poison: bool
    is_out_of_memory: bool
    stalls: bool
    fails: bool

    def come(self, engine: "SimulatedEngine", step: int) -> None:
        """Happen, if it is time and there is any."""
        if step != self.at_step:
            return
        if self.is_poison:
            engine.record("the worker is killed by its render")
            engine.kill()
            engine.work(_FOR_EVER_SECONDS)
        if self.is_out_of_memory:
            engine.record("out of memory")
            raise OutOfMemory
        if self.stalls:
            engine.record("the device hangs")
            engine.work(_FOR_EVER_SECONDS)
        if self.fails:
            raise EngineFailed("the engine failed")


class DeviceLane:
    """A Lane in virtual time: its work runs in a greenlet, which can wait although it is written as for a thread."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._busy = 0
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether work is under way or waits."""
        return self._busy > 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` when its turn comes; canceling the wait does not stop it."""
        if self._is_closed:
            raise RuntimeError("the lane is closed")
        self._busy += 1
        task = asyncio.create_task(self._work(work))
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _work(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await greenlet_spawn(work)

    def close(self) -> None:
        """Take no more work."""
        self._is_closed = True

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._busy -= 1
        if not task.cancelled():
            task.exception()  # looked at here: nobody may be waiting any more


@dataclass
class SimulatedEngine:
    """Makes the videos of film.py, a step every few virtual seconds."""

    kill: Callable[[], None]
    """Ends the worker, as a crash of its driver would."""
    temper: Temper
    libraries: str
    """Checkpoints of other libraries are refused."""
    record: Record
    free_inputs: frozenset[str] = frozenset({film.PROMPT})
    has_room: bool = field(default=True, init=False)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """All that a checkpoint relies on."""
        return {"libraries": self.libraries}

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """Say what will be made."""
        return Plan(
            width=64,
            height=64,
            num_frames=int(inputs["num_frames"]),  # type: ignore[call-overload]
            fps=8,
            total_steps=int(inputs["num_inference_steps"]),  # type: ignore[call-overload]
            guess_seconds={Phase.ENCODING: 0.5, Phase.DENOISING: 8.0, Phase.DECODING: 1.0},
        )

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video."""
        plan = self.plan(inputs)
        done, state = self._state_of(inputs, resume_from)
        self.record(f"the device begins after step {done} of {plan.total_steps}")
        trouble = self._trouble(done, plan.total_steps, inputs)
        listener.report(Moment(Phase.ENCODING, 0.0))
        self.work(0.3)
        listener.report(Moment(Phase.DENOISING, done / plan.total_steps, done, plan.total_steps))
        while done < plan.total_steps:
            listener.check()
            self.work(self.temper.step_seconds * self.temper.rng.uniform(0.8, 1.2))
            done += 1
            trouble.come(self, done)
            state = film.step(state, done, inputs)
            listener.report(
                Moment(
                    Phase.DENOISING,
                    done / plan.total_steps,
                    done,
                    plan.total_steps,
                    preview=lambda state=state: film.frames(state, 1),  # type: ignore[arg-type] — bytes are frames here
                    checkpoint=lambda done=done, state=state: self._checkpoint(done, state),
                )
            )
        listener.check()
        listener.report(Moment(Phase.DECODING, 0.0))
        shown, half = film.frames(state, plan.num_frames), plan.num_frames // 2
        for part in (shown[:half], shown[half:]):
            self.work(0.3)
            listener.check()
            listener.show(part)  # type: ignore[arg-type] — as above
            trouble.come(self, plan.total_steps + 1)
        listener.report(Moment(Phase.DECODING, 1.0))
        return Rendered({Phase.DENOISING: PeakMemory(1000, 2000)})

    def make_room(self) -> bool:
        """Take less memory."""
        had, self.has_room = self.has_room, False
        return had

    def _trouble(self, done: int, total: int, inputs: Mapping[str, object]) -> "_Trouble":
        rng, temper = self.temper.rng, self.temper
        return _Trouble(
            at_step=rng.randint(done + 1, total + 1),
            is_poison=inputs[film.PROMPT] == POISON,
            is_out_of_memory=self.has_room and rng.random() < temper.runs_out_of_memory,
            stalls=rng.random() < temper.stalls,
            fails=inputs[film.PROMPT] == BROKEN or rng.random() < temper.fails,
        )

    def _state_of(self, inputs: Mapping[str, object], checkpoint: bytes | None) -> tuple[int, bytes]:
        if checkpoint is None:
            return 0, film.noise(inputs)
        content = json.loads(checkpoint)
        if content["libraries"] != self.libraries:
            raise CheckpointRefused("the checkpoint is of other libraries")
        return content["step"], bytes.fromhex(content["state"])

    def _checkpoint(self, done: int, state: bytes) -> bytes:
        return json.dumps({"step": done, "state": state.hex(), "libraries": self.libraries}).encode()

    @staticmethod
    def work(seconds: float) -> None:
        """Take so long."""
        await_only(asyncio.sleep(seconds))


@dataclass
class SimulatedLoader:
    """Loads the simulated engine."""

    kill: Callable[[], None]
    """Ends the worker, as a crash of its driver would."""
    temper: Temper
    libraries: str
    record: Record

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version."""
        report(StartMoment(StartPhase.IMPORTS, "importing"))
        await_only(asyncio.sleep(self.temper.load_seconds / 2))
        if self.temper.rng.random() < self.temper.fails_load:
            self.record("the load fails")
            raise WeightsUnavailable("the weights are not there")
        await_only(asyncio.sleep(self.temper.load_seconds / 2))
        return SimulatedEngine(self.kill, self.temper, self.libraries, self.record)


class Recorder:
    """Makes the files of film.py; every batch of frames is a piece."""

    media_type = "video/mp4"

    def record(self, width: int, height: int, fps: int, cuts: Sequence[int] = ()) -> "Reel":
        """Begin a file."""
        return Reel()


class Reel:
    """A file in the making."""

    def __init__(self) -> None:
        self._frames = b""

    @property
    def num_frames(self) -> int:
        """Frames that the pieces hold."""
        return len(self._frames)

    def add(self, frames: Any) -> bytes:
        """Take frames; they are a piece."""
        self._frames += frames
        return frames

    def finish(self) -> tuple[bytes, bytes]:
        """No last piece, and the whole file."""
        return b"", film.video(self._frames)


class Pictures:
    """Makes previews."""

    media_type = "image/webp"

    def encode(self, pixels: Any, most_width_px: int | None = None) -> bytes:
        """A picture, of a preview or of a single frame."""
        return b"picture:" + (bytes([pixels]) if isinstance(pixels, int) else pixels)
