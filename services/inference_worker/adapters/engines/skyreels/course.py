"""A request worked out: its windows, when which frames of them are denoised, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.inference_worker.adapters.engines.skyreels.arithmetic import Arithmetic
from services.inference_worker.adapters.engines.skyreels.schedule import Schedule, schedule
from services.inference_worker.domain.inputs.fields import frames_of, latent_frames
from services.inference_worker.domain.inputs.skyreels import Mode, SkyReelsInputs


@dataclass(frozen=True)
class Stretch:
    """A window of the video. Counts are of latent frames."""

    latent_frames: int
    taken_over: int
    """The first ones are what the video ended with before. They may be fewer than those of the overlap."""
    overlap: int
    """The first ones are left out of the video, which has others there already."""
    block: int
    """A frame sees all frames up to the end of its block."""
    schedule: Schedule
    flops: tuple[float, ...]
    """Of each iteration."""


@dataclass(frozen=True)
class Course:
    """How a request is carried out. Sizes are of latents."""

    wanted: SkyReelsInputs
    height: int
    width: int
    branches: int
    """2 with guidance, of which the second has the negative prompt."""
    stretches: tuple[Stretch, ...]

    @property
    def latent_frames(self) -> int:
        """Of the whole video."""
        return latent_frames(self.wanted.num_frames)

    @property
    def step_flops(self) -> Sequence[float]:
        """The arithmetic of each denoising step of the video."""
        return [flops for stretch in self.stretches for flops in stretch.flops]

    @property
    def cuts(self) -> Sequence[int]:
        """Frames of the video by the times at which some of them are final; empty when there is but one."""
        finals, begin = list[int](), 0
        for stretch in self.stretches:
            final_in_video = {begin - stretch.overlap + iteration.final for iteration in stretch.schedule.iterations}
            finals += sorted(final for final in final_in_video if final > begin)
            begin += stretch.latent_frames - stretch.overlap
        return [frames_of(final) for final in finals] if len(finals) > 1 else ()

    def steps_before(self, stretch: int) -> int:
        """Denoising steps of the windows before this one."""
        return sum(len(earlier.flops) for earlier in self.stretches[:stretch])


def course_of(wanted: SkyReelsInputs, config: Any, *, height: int, width: int) -> Course:
    """The course of a request whose latents have this size, given a `SkyReelsV2Transformer3DModel`'s config."""
    branches = 2 if wanted.guidance_scale > 1 else 1
    overlap = latent_frames(wanted.overlap_history) if wanted.is_long and wanted.overlap_history else 0
    stretches = []
    for number, window in enumerate(wanted.windows()):
        block = wanted.block if wanted.mode is Mode.CAUSAL else window.latent_frames
        plan = schedule(
            window.latent_frames,
            window.taken_over,
            steps=wanted.num_inference_steps,
            ar_step=wanted.ar_step,
            block=wanted.block,
            causal=wanted.mode is Mode.CAUSAL,
            steady=not (window.taken_over and wanted.addnoise_condition > 0),
        )
        arithmetic = Arithmetic.of(
            config, height=height, width=width, branches=branches, latent_frames=window.latent_frames, block=block
        )
        stretches.append(
            Stretch(
                window.latent_frames,
                window.taken_over,
                overlap=overlap if number else 0,
                block=block,
                schedule=plan,
                flops=tuple(arithmetic.flops(iteration) for iteration in plan.iterations),
            )
        )
    return Course(wanted, height, width, branches, tuple(stretches))
