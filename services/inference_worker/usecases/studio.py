"""How the video of an attempt is made: with engine, encoder and object store, in this order."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import hashlib
from typing import TYPE_CHECKING

from services.inference_worker.domain.attempt import Output, Phase
from services.inference_worker.domain.errors import CheckpointRefused, OutOfMemory, StorageFailed
from services.inference_worker.domain.progress import Pace
from services.inference_worker.ports import (
    Engine,
    Lane,
    Moment,
    ObjectStore,
    PictureEncoder,
    Plan,
    Rendered,
    VideoEncoder,
)
from services.inference_worker.usecases.attempt import Attempt
from services.inference_worker.usecases.footage import Footage
from services.inference_worker.usecases.keeper import THUMBNAIL_KEY
from services.inference_worker.usecases.still import Still

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Studio:
    """Makes videos, and remembers how long that took."""

    def __init__(
        self, *, encoder: VideoEncoder, pictures: PictureEncoder, objects: ObjectStore, device: Lane, encoding: Lane
    ) -> None:
        self._encoder = encoder
        self._pictures = pictures
        self._objects = objects
        self._device = device
        self._encoding = encoding
        self._pace = Pace()

    async def make_video(self, attempt: Attempt, engine: Engine) -> Output:
        """The stored video. Raises RenderStopped when the attempt was told to stop, and what engine and store raise."""
        assignment = attempt.assignment
        checkpoint, notes = await attempt.stop.unless_given(self._checkpoint_of(attempt))
        attempt.check()
        plan = await self._device.run(lambda: engine.plan(assignment.inputs))
        footage = self._footage(attempt, plan)
        still = Still(plan.num_frames, pictures=self._pictures, encoding=self._encoding)

        def take(frames: NDArray[np.uint8]) -> None:
            footage.take(frames)
            still.take(frames)

        try:
            attempt.begin(plan, self._pace, take)
            rendered, more_notes = await self._device.run(lambda: _render(engine, attempt, checkpoint))
            attempt.report(Moment(Phase.MUXING, 0.0, message="finishing the file"))
            video = await attempt.stop.unless_given(footage.finish())
            thumbnail = await attempt.stop.unless_given(still.picture())
        finally:
            footage.drop()
            still.drop()
        attempt.check()
        attempt.report(Moment(Phase.STORING, 0.0))
        if thumbnail:
            attempt.keeper.keep_in_passing(THUMBNAIL_KEY, assignment.thumbnail_key, thumbnail)
        await attempt.stop.unless_given(attempt.keeper.insist(assignment.output_key, video))
        attempt.leave_last_phase(self._pace)
        return Output(
            key=assignment.output_key,
            media_type=self._encoder.media_type,
            size_bytes=len(video),
            sha256=hashlib.sha256(video).hexdigest(),
            width=plan.width,
            height=plan.height,
            num_frames=plan.num_frames,
            fps=plan.fps,
            phase_ms=attempt.phase_ms,
            warnings=(*notes, *more_notes, *plan.warnings),
            mode=plan.mode,
            peak_memory=rendered.peak_memory,
            eta_error=attempt.eta_error,
        )

    def _footage(self, attempt: Attempt, plan: Plan) -> Footage:
        return Footage(
            self._encoder.record(plan.width, plan.height, plan.fps, plan.cuts),
            encoding=self._encoding,
            objects=self._objects,
            folder=attempt.assignment.folder,
            on_piece=lambda pieces, frames: attempt.can_play(pieces, frames / plan.fps),
        )

    async def _checkpoint_of(self, attempt: Attempt) -> tuple[bytes | None, tuple[str, ...]]:
        """The checkpoint to go on from, if there is one, and what the sender should know about that."""
        key = attempt.assignment.checkpoint_key
        if not key:
            return None, ()
        try:
            with attempt.spans.part("resume"):
                return await self._objects.get(key), ()
        except StorageFailed:
            return None, ("the render began again: its checkpoint could not be read",)


def _render(engine: Engine, attempt: Attempt, checkpoint: bytes | None) -> tuple[Rendered, tuple[str, ...]]:
    """Render, if need be once more from where it still can; also what the sender should know about that."""
    attempt.check()
    inputs = attempt.assignment.inputs
    try:
        return engine.render(inputs, attempt, checkpoint), ()
    except CheckpointRefused as refusal:
        return engine.render(inputs, attempt), (f"the render began again: {refusal.message}",)
    except OutOfMemory:
        if not attempt.assignment.may_make_room or not engine.make_room():
            raise
        attempt.show_again()
        rendered = engine.render(inputs, attempt, attempt.newest_checkpoint or checkpoint)
        return rendered, ("the device ran out of memory; the render was finished with less, but more slowly",)
