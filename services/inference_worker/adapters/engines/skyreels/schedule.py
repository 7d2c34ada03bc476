"""Which latent frames of a window are denoised when, and what the model has to compute for it."""

from collections.abc import Sequence
from dataclasses import dataclass

NO_FRAMES = range(0)


@dataclass(frozen=True)
class Iteration:
    """One pass of the model over a window. Ranges are of latent frames.

    `positions` says of each part of the window where it is: 0 before its first step, then the number of the step that
    it takes now, and one more than there are steps once it is finished.
    """

    positions: tuple[int, ...]
    remembered: range
    """Frames finished by now whose keys and values are computed before the pass, and kept from here on."""
    seen: range
    """Frames that the pass computes. Those before it are known by their keys and values, those after it to nobody."""
    moved: range
    """Frames that take a step: all that is wanted of the pass."""
    final: int
    """So many frames of the window are finished after the pass."""


@dataclass(frozen=True)
class Schedule:
    """A window's parts, each a range of latent frames that are denoised together, and its iterations."""

    parts: tuple[range, ...]
    iterations: tuple[Iteration, ...]


def schedule(
    latent_frames: int, taken_over: int, *, steps: int, ar_step: int, block: int, causal: bool, steady: bool
) -> Schedule:
    """When to denoise which frames of a window, of which the first `taken_over` are finished from the start.

    A part is the frames taken over, or a block; with `ar_step` 0 all others are one part. When frames see earlier
    blocks only (`causal`), parts that have not begun need not be computed, and what is known of finished parts can be
    kept, unless it changes from pass to pass (not `steady`).
    """
    parts = _parts(latent_frames, taken_over, block if ar_step else latent_frames)
    finished = steps + 1
    iterations: list[Iteration] = []
    kept = 0
    for positions in _positions(len(parts), steps, ar_step, ready=1 if taken_over else 0):
        under_way = [part for part, position in zip(parts, positions, strict=True) if 0 < position < finished]
        moved = range(under_way[0].start, under_way[-1].stop)
        remembered = range(kept, moved.start) if causal and steady else NO_FRAMES
        kept += len(remembered)
        done = [part.stop for part, position in zip(parts, positions, strict=True) if position >= steps]
        iterations.append(
            Iteration(
                positions,
                remembered=remembered,
                seen=range(kept, moved.stop if causal else latent_frames),
                moved=moved,
                final=max(done, default=0),
            )
        )
    return Schedule(parts, tuple(iterations))


def _parts(latent_frames: int, taken_over: int, length: int) -> tuple[range, ...]:
    rest = [range(start, min(start + length, latent_frames)) for start in range(taken_over, latent_frames, length)]
    return (range(taken_over), *rest) if taken_over else tuple(rest)


def _positions(parts: int, steps: int, ar_step: int, *, ready: int) -> Sequence[tuple[int, ...]]:
    """The positions of each iteration, until all parts have taken their last step; as the pipeline has them."""
    finished = steps + 1
    rows: list[tuple[int, ...]] = []
    last = (finished,) * ready + (0,) * (parts - ready)
    while min(last) < steps:
        row: list[int] = []
        for part, position in enumerate(last):
            goes_on = part == 0 or last[part - 1] >= steps
            row.append(position + 1 if goes_on else row[-1] - ar_step)
        last = tuple(min(max(position, 0), finished) for position in row)
        rows.append(last)
    return rows
