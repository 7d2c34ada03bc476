"""The small world: one shape over a background, seen by a camera; drawn by arithmetic, at any size.

The world has no edges, and all its lengths are pixels of a full-size picture: a larger picture shows more of it. That
is what the models can learn, whose layers know how far parts of a picture are apart, but not where its edges are.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch

Colour = tuple[float, float, float]
"""Red, green and blue in 0…1."""

COLOURS: dict[str, Colour] = {
    "red": (0.88, 0.10, 0.10),
    "green": (0.10, 0.62, 0.18),
    "blue": (0.10, 0.25, 0.88),
    "yellow": (0.98, 0.86, 0.08),
    "purple": (0.55, 0.12, 0.70),
    "orange": (0.98, 0.50, 0.04),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
}
SHAPES = ("circle", "square", "triangle", "ring")
SIZES = {"small": 44.0, "medium": 64.0, "large": 92.0}
"""Radius in pixels."""

DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
STILL = "still"
PANS = {"pans left": -1, "pans right": 1}
ZOOMS = {"zooms in": 1, "zooms out": -1}
MOTIONS = (*DIRECTIONS, STILL, *PANS, *ZOOMS)
"""What moves: the shape one way, nothing, or the camera, before which the shape then rests."""

SPEEDS = {"slowly": 1.25, "steadily": 2.5, "quickly": 5.0}
"""Of the shape or of a pan, in pixels a frame."""
ZOOM_RATE = 1 / 640
"""A zoom makes things larger by exp(ZOOM_RATE · speed) a frame."""

PATTERNS = ("plain", "striped")
PERIOD = 256.0
"""Of upright stripes, in pixels."""


_QUICKEST_PAN = 4.0


def pan_speed(motion_bucket_id: float) -> float:
    """Of image to video: how many pixels a frame the camera goes to the right, which is where pictures come in."""
    return motion_bucket_id / 255 * _QUICKEST_PAN


CHOICES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "motion": MOTIONS,
    "speed": tuple(SPEEDS),
    "background": tuple(COLOURS),
    "pattern": PATTERNS,
}
"""What can be said of a scene, by field of `Combination`."""


@dataclass(frozen=True)
class Combination:
    """What can be said of a scene."""

    shape: str
    colour: str
    size: str
    motion: str
    speed: str
    background: str
    pattern: str

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept from training, to be asked for afterwards: one in ten, the same ones everywhere."""
        digest = hashlib.sha256("/".join(astuple(self)).encode()).digest()
        return digest[0] * 10 < 256


@dataclass(frozen=True)
class Scene:
    """A combination, somewhere in a picture. Places are in pixels from its top left, at the first frame."""

    combination: Combination
    x: float
    y: float
    stripe: float
    """The middle of a light stripe, from the left."""


@dataclass(frozen=True)
class View:
    """Which pixels of a picture are drawn: one of every `step` × `step` from `left` and `top` on."""

    height: int
    width: int
    top: int = 0
    left: int = 0
    step: int = 1


def tones(background: str) -> tuple[Colour, Colour]:
    """The two colours of a background: its name's, paler than that of shapes, and a darker one."""
    if background == "black":
        return (0.26, 0.26, 0.28), (0.17, 0.17, 0.19)
    red, green, blue = (0.55 * part + 0.45 * 0.78 for part in COLOURS[background])
    return (red, green, blue), (0.82 * red, 0.82 * green, 0.82 * blue)


def random_combination(dice: random.Random) -> Combination:
    """Any one but those where the shape has the colour of its background, or a pan has nothing to pass."""
    colour = dice.choice(list(COLOURS))
    motion = dice.choices(MOTIONS, weights=[4, 4, 4, 4, 2, 2, 2, 2, 2])[0]
    return Combination(
        shape=dice.choice(SHAPES),
        colour=colour,
        size=dice.choice(list(SIZES)),
        motion=motion,
        speed="steadily" if motion == STILL else dice.choice(list(SPEEDS)),
        background=dice.choice([name for name in COLOURS if name != colour]),
        pattern="striped" if motion in PANS else dice.choices(PATTERNS, weights=[2, 1])[0],
    )


def held_out(count: int) -> list[Combination]:
    """So many combinations that are never trained on, always the same ones."""
    dice = random.Random(0)
    found: list[Combination] = []
    while len(found) < count:
        combination = random_combination(dice)
        if combination.is_held_out:
            found.append(combination)
    return found


def placed(combination: Combination, frames: int, height: int, width: int, dice: random.Random) -> Scene:
    """A scene of the combination in which the shape is in sight: for all of these frames if its way is short enough.

    A light stripe is where the shape is half way through them, or always.
    """
    ways = way_of(combination)
    radius = SIZES[combination.size]
    start = []
    for way, length in zip(ways, (width, height), strict=True):
        travelled = way * (frames - 1)
        lowest, highest = radius - min(travelled, 0), length - radius - max(travelled, 0)
        middle = (length - travelled) / 2
        start.append(dice.uniform(lowest, highest) if lowest < highest else middle + dice.uniform(-0.2, 0.2) * length)
    half_way = (frames - 1) / 2
    return half_way_at(combination, start[0] + ways[0] * half_way, start[1] + ways[1] * half_way, half_way)


def half_way_at(combination: Combination, x: float, y: float, half_way: float) -> Scene:
    """The scene that has the shape there in the frame of this number, and a light stripe there then, or always."""
    to_right, to_bottom = way_of(combination)
    start = x - to_right * half_way
    stripe = x if combination.motion in DIRECTIONS else start
    return Scene(combination, start, y - to_bottom * half_way, stripe)


def way_of(what: Combination) -> tuple[float, float]:
    """How far the shape gets in the picture in a frame, to the right and down."""
    speed = SPEEDS[what.speed]
    if what.motion in DIRECTIONS:
        to_right, to_bottom = DIRECTIONS[what.motion]
        return to_right * speed, to_bottom * speed
    return -PANS.get(what.motion, 0) * speed, 0.0


def draw(scene: Scene, frames: Sequence[int], view: View) -> torch.Tensor:
    """The scene's pictures at these frame numbers: (frames, 3, rows, columns), in -1…1."""
    what = scene.combination
    light, dark, colour = (torch.tensor(tone).view(3, 1, 1) for tone in (*tones(what.background), COLOURS[what.colour]))
    behind = light.expand(len(frames), 3, 1, 1)
    if what.pattern == "striped":
        waves = (stripes(scene, frames, view).remainder(1) - 0.5).abs() * PERIOD - PERIOD / 4
        behind = light + (dark - light) * _coverage(waves, view.step / zoom(what, frames))[:, None, None]
    return (behind + (colour - behind) * silhouette(scene, frames, view)[:, None]) * 2 - 1


def silhouette(scene: Scene, frames: Sequence[int], view: View) -> torch.Tensor:
    """How much of each pixel the shape covers, 0…1: (frames, rows, columns)."""
    return _coverage(torch.maximum(*edges(scene, frames, view)), torch.tensor(view.step))


def edges(scene: Scene, frames: Sequence[int], view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """How many pixels pixels are outside the shape's outline, and inside its hole: both (frames, rows, columns).

    A shape without a hole is infinitely far outside of it.
    """
    what, larger = scene.combination, zoom(scene.combination, frames)[..., None]
    x, y = offsets(scene, frames, view)
    outside, in_hole = distances(what.shape, x[:, None, :] / larger, y[:, :, None] / larger, SIZES[what.size])
    return outside * larger, in_hole * larger


def offsets(scene: Scene, frames: Sequence[float], view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """How far pixels are from the shape's middle, to the right (frames, columns) and down (frames, rows)."""
    to_right, to_bottom = way_of(scene.combination)
    x = _places(view.left, view.width, view.step) - scene.x - to_right * _column(frames)
    y = _places(view.top, view.height, view.step) - scene.y - to_bottom * _column(frames)
    return x, y


def stripes(scene: Scene, frames: Sequence[int], view: View) -> torch.Tensor:
    """How many periods columns of pixels are to the right of the middle of a light stripe: (frames, columns)."""
    what = scene.combination
    # Before a moving camera stripes and shape are one; otherwise only the shape moves.
    way = 0.0 if what.motion in DIRECTIONS else way_of(what)[0]
    across = _places(view.left, view.width, view.step) - scene.stripe - way * _column(frames)
    return across / zoom(what, frames) / PERIOD


def zoom(what: Combination, frames: Sequence[int]) -> torch.Tensor:
    """How much larger than at first things are, shape (frames, 1)."""
    rate = ZOOMS.get(what.motion, 0) * SPEEDS[what.speed] * ZOOM_RATE
    return torch.exp(rate * _column(frames))


def _column(frames: Sequence[float]) -> torch.Tensor:
    return torch.tensor(frames, dtype=torch.float32).view(-1, 1)


def distance(shape: str, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """How far points are outside a shape of this radius around zero; negative inside. y points down."""
    return torch.maximum(*distances(shape, x, y, radius))


def distances(shape: str, x: torch.Tensor, y: torch.Tensor, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """How far they are outside its outline, and inside its hole."""
    hole = torch.tensor(-math.inf)
    match shape:
        case "circle":
            outside = torch.hypot(x, y) - radius
        case "ring":
            outside, hole = torch.hypot(x, y) - 1.02 * radius, 0.5 * radius - torch.hypot(x, y)
        case "square":
            outside = torch.maximum(x.abs(), y.abs()) - 0.88 * radius
        case "triangle":
            outside = torch.maximum(y - 0.8 * radius, 0.89 * x.abs() - 0.45 * y - 0.48 * radius)
        case _:
            raise ValueError(f"there is no {shape} in this world")
    return outside, hole.expand(outside.shape)


def _places(start: int, count: int, step: int) -> torch.Tensor:
    """The middles of pixels."""
    return start + (torch.arange(math.ceil(count / step)) + 0.5) * step


def _coverage(distances: torch.Tensor, pixel: torch.Tensor) -> torch.Tensor:
    """How much of each pixel is inside, where edges are one pixel soft."""
    return (0.5 - distances / pixel).clamp(0, 1)
