"""One video under way: its windows are denoised one after the other, and each frame is shown as soon as it is final."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.inference_worker.adapters.engines.device import refuse_degenerate
from services.inference_worker.adapters.engines.leash import leash_on
from services.inference_worker.adapters.engines.preview import LatentPreview
from services.inference_worker.adapters.engines.run import Run
from services.inference_worker.adapters.engines.skyreels.course import Course
from services.inference_worker.adapters.engines.skyreels.denoising import Denoising, OverlapNoise
from services.inference_worker.adapters.engines.skyreels.transformer import KeysAndValues, SkyReelsTransformer
from services.inference_worker.adapters.engines.state import RenderState
from services.inference_worker.adapters.engines.wan_decoder import WanDecoder, pixels_of

_EARLIER, _GENERATOR = "earlier", "generator"
"""Tensors of a video at rest: the latents of the windows before, and which noise comes next."""
_STRETCH, _DENOISING = "stretch", "denoising"
"""Facts of a video at rest: its window, and how far that is."""


@dataclass(frozen=True)
class Model:
    """What videos are made with."""

    transformer: SkyReelsTransformer
    scheduler: Any
    """A diffusers `UniPCMultistepScheduler`."""
    decoder: WanDecoder
    preview: LatentPreview
    device: torch.device


class Rendering:
    """The video of a course. `text` is what the transformer looks at of its prompts."""

    def __init__(self, course: Course, model: Model, text: Sequence[KeysAndValues], run: Run) -> None:
        self._course = course
        self._model = model
        self._text = text
        self._run = run
        # A generator of the CPU draws the same noise for every device.
        self._generator = torch.Generator().manual_seed(course.wanted.seed)
        self._earlier = torch.empty(self._size(0), device=model.device)
        self._stretch = 0
        self._denoising = self._begun()
        self._decoding = model.decoder.begin()
        self._shown = 0

    def go_on(self, rest: RenderState) -> None:
        """Take the place of a rendering of the same course that was put to rest."""
        self._earlier = rest.tensors[_EARLIER].to(self._model.device)
        self._stretch = rest.facts[_STRETCH]
        self._denoising = self._begun()
        self._denoising.wake(rest.tensors, rest.facts[_DENOISING])
        self._generator.set_state(rest.tensors[_GENERATOR])

    def at_rest(self) -> RenderState:
        """What it takes to go on from here."""
        tensors, facts = self._denoising.at_rest()
        tensors |= {_EARLIER: self._earlier, _GENERATOR: self._generator.get_state()}
        return RenderState(tensors, {_STRETCH: self._stretch, _DENOISING: facts})

    def finish(self, checkpoint: Callable[[], bytes]) -> None:
        """Make all that is missing. `checkpoint` makes a file of this at rest; every step offers it."""
        self._run.denoising(self._course.steps_before(self._stretch) + self._denoising.done)
        check = leash_on(self._model.device, self._run.check)
        self._show_final()
        while True:
            while not self._denoising.is_done:
                self._denoising.step(check)
                self._run.step(preview=self._preview, checkpoint=checkpoint)
                self._show_final()
            if self._stretch == len(self._course.stretches) - 1:
                return
            self._earlier = self._final_latents()
            self._stretch += 1
            self._denoising = self._begun()

    def _begun(self) -> Denoising:
        """The denoising of the window, from its start."""
        course, stretch = self._course, self._course.stretches[self._stretch]
        wanted, transformer = course.wanted, self._model.transformer
        latents = torch.randn(self._size(stretch.latent_frames), generator=self._generator).to(self._model.device)
        noise = None
        if stretch.taken_over:
            end_of_video = self._earlier[:, :, self._earlier.shape[2] - stretch.overlap :].to(transformer.dtype)
            latents[:, :, : stretch.taken_over] = end_of_video[:, :, : stretch.taken_over]
            if wanted.addnoise_condition > 0:
                # The model is told whole thousandths, though the noise may be a share between two of them.
                thousandths = wanted.addnoise_condition
                noise = OverlapNoise(stretch.taken_over, 0.001 * thousandths, int(thousandths), self._generator)
        return Denoising(
            transformer,
            transformer.setting(
                self._text,
                fps=wanted.fps,
                latent_frames=stretch.latent_frames,
                height=course.height,
                width=course.width,
                block=stretch.block,
            ),
            stretch.schedule,
            self._model.scheduler,
            latents,
            steps=wanted.num_inference_steps,
            guidance_scale=wanted.guidance_scale,
            overlap_noise=noise,
        )

    def _size(self, latent_frames: int) -> tuple[int, ...]:
        return 1, self._model.decoder.channels, latent_frames, self._course.height, self._course.width

    def _final_latents(self) -> torch.Tensor:
        """All that are final so far."""
        overlap = self._course.stretches[self._stretch].overlap
        return torch.cat([self._earlier, self._denoising.latents[:, :, overlap : self._denoising.final]], dim=2)

    def _show_final(self) -> None:
        """Decode and show the frames that have become final."""
        final = self._final_latents()
        if self._shown == final.shape[2]:
            return
        wanted = self._course.wanted
        refuse_degenerate(final[:, :, self._shown :])
        self._run.decoding()
        for number in range(self._shown, final.shape[2]):
            frames = self._decoding.frames_of(final[:, :, number])
            self._shown = number + 1
            self._run.show(pixels_of(frames, wanted.height, wanted.width))
        if self._shown < self._course.latent_frames:
            self._run.denoising_again()

    def _preview(self) -> NDArray[np.uint8]:
        return self._model.preview.picture(self._denoising.expected())
