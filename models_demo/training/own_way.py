"""What guidance makes of noise with the transformer as it is, and what it should have made of it.

Each of its steps goes several times as far as the model says, so that latents are soon like none that come of adding
noise. From where it gets by itself the model learns the way back (DAgger: Ross, Gordon and Bagnell, AISTATS 2011).
What it predicts for a moment is learnt from, and also taken to get to the next one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from models_demo.architectures import VIDEO_CHANNELS, flow_scheduler
from models_demo.captions import sentence
from models_demo.training.cells import CELL, Size
from models_demo.training.forward import Texts, predicted, timesteps
from models_demo.training.noise import BARELY, SHIFT, any_block, known_frames
from models_demo.training.sketches import CHANNELS_OF, VIDEO_FRAMES, Sketches, Window, pictures_of, places
from models_demo.training.text import any_scene
from models_demo.world import SIZES, Combination, Scene, half_way_at, way_of

_GUIDANCE = (1.0, 8.0)
_STEPS, _LAG = (8, 24), (1, 6)
_UNSEEN = 0.93
"""With more noise nobody can say where the shape is."""
_FULL = 0.5
"""With less noise moments count less: the same mistake is a larger one in the way between latents and noise."""
_TOGETHER, _SEEN = 4.0, 0.8
"""How much it counts that with no more noise than this the model says the same, told and untold: guidance makes any
difference several times as large, and what was asked for can be seen by then."""
_STEADY = 30.0
"""So many times as much as any other way to be wrong counts that all cells change too fast or too slowly: little else
tells a slow zoom from a faster one."""
_PLACED = (CHANNELS_OF.stripes, CHANNELS_OF.place, CHANNELS_OF.offsets, CHANNELS_OF.edges)


@dataclass
class Journey:
    """Videos of one size on their way from noise. Blocks of latent frames may be some steps behind earlier ones."""

    whats: Sequence[Combination]
    latents: torch.Tensor
    """(videos, channels, frames, rows, columns)."""
    right: torch.Tensor | None
    """What is to come of them, if they go on from frames that are known."""
    known: int
    known_level: float
    parts: Sequence[range]
    """Of the frames that are not known."""
    lag: int
    steps: int
    block: int | None
    slow: torch.Tensor
    guidance: torch.Tensor
    done: int = 0
    solvers: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Make the solvers that renders have too, one for each part."""
        self.solvers = [flow_scheduler(SHIFT) for _ in self.parts]
        for solver in self.solvers:
            solver.set_timesteps(self.steps)
            solver.set_begin_index(0)

    @property
    def is_over(self) -> bool:
        """Whether all noise is gone."""
        return self.done == self.steps + self.lag * (len(self.parts) - 1)

    def levels(self) -> torch.Tensor:
        """The noise in each latent frame before the next step."""
        levels = torch.zeros(self.latents.shape[2])
        levels[: self.known] = self.known_level
        for number, (part, solver) in enumerate(zip(self.parts, self.solvers, strict=True)):
            place = min(max(self.done - number * self.lag, 0), self.steps)
            levels[part.start : part.stop] = float(solver.sigmas[place])
        return levels

    def seen(self) -> torch.Tensor:
        """The latents as the model sees them: those that are known may be given with a little noise."""
        known = self.latents[:, :, : self.known]
        noised = known + self.known_level * (torch.randn_like(known) - known)
        return torch.cat((noised, self.latents[:, :, self.known :]), dim=2)

    def go_on(self, told: torch.Tensor, untold: torch.Tensor) -> None:
        """Take the next step, by what the model predicts."""
        guided = untold + self.guidance * (told - untold)
        for number, (part, solver) in enumerate(zip(self.parts, self.solvers, strict=True)):
            place = self.done - number * self.lag
            if 0 <= place < self.steps:
                here = slice(part.start, part.stop)
                self.latents[:, :, here] = solver.step(
                    guided[:, :, here], solver.timesteps[place], self.latents[:, :, here], return_dict=False
                )[0]
        self.done += 1


@dataclass(frozen=True)
class OwnWay:
    """Learns where a model in training gets by itself."""

    model: Any
    sketches: Sketches
    embed: Callable[[list[str]], Texts]

    def begun(self, size: Size, videos: int, dice: random.Random) -> Journey:
        """So many videos that are all noise yet, or but for the end of an earlier window."""
        frames, block = size[0], any_block(dice)
        known = known_frames(frames, block, dice)
        length = block or dice.choice((1, 2, 3, 5))
        lag = dice.randint(*_LAG) if dice.random() < 0.5 else 0
        if lag == 0:
            length = frames
        whats = [any_scene(dice) for _ in range(videos)]
        latents, right = torch.randn(videos, VIDEO_CHANNELS, *size), None
        if known:
            window = Window.of(size, known, dice)
            right = window.latents(self.sketches, [window.scene(what, dice) for what in whats])
            latents[:, :, :known] = right[:, :, :known]
        return Journey(
            whats,
            latents,
            right,
            known=known,
            known_level=dice.choice((0.0, BARELY)),
            parts=[range(start, min(start + length, frames)) for start in range(known, frames, length)],
            lag=lag,
            steps=dice.randint(*_STEPS),
            block=block,
            slow=torch.rand(videos) < 0.3,
            guidance=torch.empty(videos, 1, 1, 1, 1).uniform_(*_GUIDANCE),
        )

    def loss(self, journey: Journey, matter: torch.Tensor) -> torch.Tensor:
        """How far the model is from the way to what was asked for; the journey goes on by a step."""
        videos, levels, latents = len(journey.whats), journey.levels(), journey.seen()
        texts = self.embed([*map(sentence, journey.whats), *[""] * videos])
        told, untold = predicted(
            self.model,
            latents.repeat(2, 1, 1, 1, 1),
            timesteps(levels).expand(2 * videos, -1),
            texts,
            slow=journey.slow.repeat(2),
            block=journey.block,
        ).chunk(2)
        share = levels[:, None, None]
        right = journey.right
        if right is None:
            # Where the shape is, the model is to say itself, of each moment: were it where the video ends up, a model
            # that moves it on its way would learn to move it more, until it is out of sight.
            scenes = scenes_in(latents - share * told.detach(), journey.whats)
            frames, rows, columns = latents.shape[2:]
            right = self.sketches.of_scenes(scenes, *pictures_of((frames, rows, columns)))
        wanted = (latents - right) / share.clamp(min=1e-3)
        counts = (share / _FULL).clamp(max=1).square() * matter
        if journey.right is None:
            for part in _PLACED:
                counts[part] *= share <= _UNSEEN
        missed = torch.stack((told, untold)) - wanted
        wrong = missed.square().mean(dim=0) + _TOGETHER * (share <= _SEEN) * (told - untold).square()
        rushed = _rushed(missed * counts.sqrt()).mean(dim=0)
        journey.go_on(told.detach(), untold.detach())
        return ((wrong * counts).mean() + _STEADY * rushed.mean()) / matter.mean()


def _rushed(missed: torch.Tensor) -> torch.Tensor:
    """The part of squares (…, channels, frames, rows, columns) that lies in an even change over time of all cells.

    Its mean over channels is to the mean of all squares as that part to the whole: (…, channels).
    """
    frames = missed.shape[-3]
    time = torch.arange(frames) - (frames - 1) / 2
    along = time / time.norm().clamp(min=1e-6)
    return (missed.mean(dim=(-2, -1)) @ along).square() / frames


def scenes_in(latents: torch.Tensor, whats: Sequence[Combination]) -> list[Scene]:
    """Scenes of what was asked for, with the shapes half way through where latents have them, if that is in sight."""
    half_way, found = VIDEO_FRAMES * (latents.shape[2] - 1) / 2, list[Scene]()
    for what, place in zip(whats, places(latents), strict=True):
        x, y = (
            _inside(along, CELL * cells, SIZES[what.size] + abs(way) * half_way)
            for along, cells, way in zip(place, latents.shape[:2:-1], way_of(what), strict=True)
        )
        found.append(half_way_at(what, x, y, half_way))
    return found


def _inside(place: float, length: int, reach: float) -> float:
    """The nearest place in a view of this length that is so far from its edges, or not far from its middle."""
    edge = min(reach, 0.3 * length)
    return min(max(place, edge), length - edge)
