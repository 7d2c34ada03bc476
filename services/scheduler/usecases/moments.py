"""What a worker says of an attempt, as a change of its render."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.scheduler.domain.facts import Phase, Progress, Timing, milliseconds
from services.scheduler.domain.render import Render
from services.scheduler.ports import AttemptMoment, Made

# The worker's names of phases, and where their durations go.
_TIMING_FIELDS: Mapping[str, str] = {
    "encoding": "encode_ms",
    "denoising": "denoise_ms",
    "decoding": "decode_ms",
    "muxing": "mux_ms",
    "storing": "store_ms",
}


def progressed(render: Render, moment: AttemptMoment, now: datetime) -> Render:
    """The render after a moment of its attempt."""
    progress = Progress(
        done_steps=moment.done_steps,
        total_steps=moment.total_steps,
        fraction=moment.fraction,
        eta_seconds_p50=moment.eta_seconds_p50,
        eta_seconds_p90=moment.eta_seconds_p90,
        playable_seconds=moment.playable_seconds or None,
    )
    if moment.phase is Phase.DENOISING and render.phase is not Phase.DENOISING:
        render = _resumed(render, moment)
    render = replace(
        render,
        phase=moment.phase,
        progress=progress,
        worker_seq=moment.seq,
        pieces=moment.pieces,
        checkpoint_key=moment.checkpoint_key or render.checkpoint_key,
    )
    if moment.pieces and render.timing.first_frames_ms is None:
        first_frames_ms = milliseconds(render.created_at, now)
        render = replace(render, timing=replace(render.timing, first_frames_ms=first_frames_ms))
    if moment.preview_key and moment.preview_key != render.preview_key:
        render = replace(render, preview_key=moment.preview_key, preview_seq=render.last_seq + 1)
    return render


def succeeded(render: Render, moment: AttemptMoment, made: Made, now: datetime) -> dict[str, Any]:
    """What changes in a render whose video is ready."""
    steps, duration_seconds = moment.total_steps, made.output.num_frames / made.output.fps
    return {
        "progress": Progress(done_steps=steps, total_steps=steps, fraction=1.0, playable_seconds=duration_seconds),
        "phase": Phase.DONE,
        "timing": _timing(progressed(render, moment, now).timing, made),
        "output": made.output,
        # A piece that could not be stored is missed by those who follow, not by the video.
        "pieces": moment.pieces if math.isclose(moment.playable_seconds, duration_seconds) else 0,
        "checkpoint_key": "",
        "warnings": (*render.warnings, *made.warnings),
        "mode": made.mode,
        "peak_memory": made.peak_memory,
        "worker_seq": moment.seq,
    }


def _resumed(render: Render, moment: AttemptMoment) -> Render:
    """Denoising begins: the steps that are done already were a checkpoint's."""
    *earlier, last = render.attempts
    if last.resumed_steps or not render.checkpoint_key or render.phase is Phase.DECODING:
        return render
    return replace(render, attempts=(*earlier, replace(last, resumed_steps=moment.done_steps)))


def _timing(timing: Timing, made: Made) -> Timing:
    """The timing with the worker's phases; the model's own time is what it spent encoding, denoising and decoding."""
    known = {_TIMING_FIELDS[phase]: ms for phase, ms in made.phase_ms.items() if phase in _TIMING_FIELDS}
    model_parts = [known[name] for name in ("encode_ms", "denoise_ms", "decode_ms") if name in known]
    timing = replace(timing, **known, model_ms=sum(model_parts) if model_parts else None)
    return replace(timing, eta_error=made.eta_error)
