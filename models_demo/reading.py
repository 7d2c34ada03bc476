"""What a video of the small world shows, read from its pixels alone."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn.functional import avg_pool2d

from models_demo.world import (
    CHOICES,
    COLOURS,
    DIRECTIONS,
    PANS,
    PERIOD,
    SHAPES,
    SIZES,
    SPEEDS,
    STILL,
    ZOOM_RATE,
    Combination,
    distance,
    tones,
)

_STEP = 4
"""Pixels are read in squares of so many along each side."""
_OFF_BACKGROUND = 0.18
"""How far from all tones of the background, in colours of 0…1, a pixel is something else."""
_LEAST_LIKENESS = 0.6
"""Of a silhouette to the shape that it is most like: intersection over union."""
_LEAST_SHARE = 0.002
"""Of the picture, for something to be there at all."""
_LEAST_CONTRAST = 0.2
"""Of a pattern, as the deviation of how much of the darker tone a pixel has."""
_ENOUGH_FRAMES = 5
_APART = 8
"""How many frames pictures are apart that are compared to see the camera move."""
_LEAST_SPEED = min(SPEEDS.values()) / 2


@dataclass(frozen=True)
class Reading:
    """What is seen. None where nothing can be made out."""

    shape: str | None
    colour: str | None
    size: str | None
    motion: str | None
    speed: str | None
    background: str
    pattern: str

    def differences(self, asked: Combination) -> list[str]:
        """The fields that are other than was asked. A scene that stands still has no speed."""
        names = (name for name in CHOICES if name != "speed" or asked.motion != STILL)
        return [name for name in names if getattr(self, name) != getattr(asked, name)]


@dataclass(frozen=True)
class _Shape:
    """A silhouette over time: all that it takes of the pictures to tell how it moves."""

    masks: torch.Tensor
    """1 where the shape is, shape (frames, rows, columns)."""

    @property
    def areas(self) -> torch.Tensor:
        """In pixels."""
        return self.masks.sum(dim=(1, 2)) * _STEP**2

    def centres(self) -> torch.Tensor:
        """In pixels from the left and the top, shape (frames, 2)."""
        _, rows, columns = self.masks.shape
        weight = self.masks.sum(dim=(1, 2)).clamp(min=1e-6)
        x = (self.masks.sum(dim=1) * (torch.arange(columns) + 0.5)).sum(dim=1) / weight
        y = (self.masks.sum(dim=2) * (torch.arange(rows) + 0.5)).sum(dim=1) / weight
        return torch.stack((x, y), dim=1) * _STEP

    def frames(self) -> torch.Tensor:
        """The frames in which it is there: those in which it touches no edge, if there are enough of them."""
        edges = torch.stack(
            [
                self.masks[:, 0].amax(1),
                self.masks[:, -1].amax(1),
                self.masks[..., 0].amax(1),
                self.masks[..., -1].amax(1),
            ]
        )
        there = self.masks.mean(dim=(1, 2)) > _LEAST_SHARE
        whole = (edges.amax(0) < 0.5) & there
        return (whole if whole.sum() >= _ENOUGH_FRAMES else there).nonzero().flatten()


def read(video: torch.Tensor) -> Reading:
    """Read a video: (frames, height, width, 3), of whole numbers up to 255."""
    pixels = avg_pool2d(video.permute(0, 3, 1, 2).float() / 255, _STEP)
    background = _background(pixels)
    off, share = _off_background(pixels, background)
    pattern, passing = _pattern(share, off < _OFF_BACKGROUND)
    there = off > _OFF_BACKGROUND
    if there.float().mean() < _LEAST_SHARE:
        return Reading(None, None, None, None, None, background, pattern)
    colour = _nearest_colour(pixels.permute(0, 2, 3, 1)[there].median(dim=0).values)
    to_colour = (pixels - torch.tensor(COLOURS[colour]).view(1, 3, 1, 1)).square().sum(1).sqrt()
    silhouette = _Shape((off / (off + to_colour + 1e-6) * 2 - 0.5).clamp(0, 1))
    frames = silhouette.frames()
    if len(frames) < _ENOUGH_FRAMES:
        return Reading(None, colour, None, None, None, background, pattern)
    shape, size = _shape(silhouette, frames)
    motion, speed = _motion(silhouette, frames, passing)
    return Reading(shape, colour, size, motion, speed, background, pattern)


def _background(pixels: torch.Tensor) -> str:
    """The name whose tones most pixels are next to, shapes' colours being an alternative."""
    names, palette = [], []
    for name in COLOURS:
        for tone in tones(name):
            names.append(name)
            palette.append(tone)
    for colour in COLOURS.values():
        names.append("")
        palette.append(colour)
    far = torch.cdist(pixels.permute(0, 2, 3, 1).reshape(-1, 3), torch.tensor(palette))
    counts = torch.bincount(far.argmin(dim=1), minlength=len(names)).tolist()
    by_name = dict.fromkeys(COLOURS, 0)
    for name, count in zip(names, counts, strict=True):
        if name:
            by_name[name] += count
    return max(by_name, key=lambda name: by_name[name])


def _off_background(pixels: torch.Tensor, background: str) -> tuple[torch.Tensor, torch.Tensor]:
    """How far pixels are from all mixtures of the two tones, and how much of the darker one the nearest mixture has."""
    light, dark = (torch.tensor(tone).view(1, 3, 1, 1) for tone in tones(background))
    line = dark - light
    share = ((pixels - light) * line).sum(1) / line.square().sum()
    nearest = light + share.clamp(0, 1).unsqueeze(1) * line
    return (pixels - nearest).square().sum(1).sqrt(), share


def _nearest_colour(found: torch.Tensor) -> str:
    return min(COLOURS, key=lambda name: (found - torch.tensor(COLOURS[name])).square().sum().item())


def _shape(silhouette: _Shape, frames: torch.Tensor) -> tuple[str | None, str | None]:
    """What the silhouette is most like in the frames, and its size in the first of them."""
    centres, areas = silhouette.centres(), silhouette.areas
    likeness: dict[str, float] = {}
    picked = frames[:: max(1, len(frames) // 6)]
    for name in SHAPES:
        scores = []
        for frame in picked.tolist():
            radius = math.sqrt(areas[frame].item() / _unit_area(name))
            template = _template(name, radius, centres[frame], silhouette.masks.shape[1:])
            both = torch.minimum(template, silhouette.masks[frame]).sum()
            scores.append((both / torch.maximum(template, silhouette.masks[frame]).sum()).item())
        likeness[name] = sum(scores) / len(scores)
    best = max(likeness, key=lambda name: likeness[name])
    if likeness[best] < _LEAST_LIKENESS:
        return None, None
    radius = math.sqrt(areas[frames[0]].item() / _unit_area(best))
    return best, min(SIZES, key=lambda name: abs(math.log(radius / SIZES[name])))


def _template(name: str, radius: float, centre: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The shape's mask with its middle of mass at the centre."""
    rows, columns = size
    x = (torch.arange(columns) + 0.5).view(1, -1) * _STEP - centre[0]
    y = (torch.arange(rows) + 0.5).view(-1, 1) * _STEP - centre[1] + _unit_drop(name) * radius
    return (0.5 - distance(name, x, y, radius) / _STEP).clamp(0, 1)


def _unit_mask(name: str) -> tuple[torch.Tensor, torch.Tensor, float]:
    places = (torch.arange(400) + 0.5) / 100 - 2
    return (distance(name, places.view(1, -1), places.view(-1, 1), 1.0) < 0).float(), places, 1e-4


@cache
def _unit_area(name: str) -> float:
    """Of the shape of radius 1."""
    mask, _, pixel = _unit_mask(name)
    return mask.sum().item() * pixel


@cache
def _unit_drop(name: str) -> float:
    """How far below its centre the shape of radius 1 has its middle of mass."""
    mask, places, _ = _unit_mask(name)
    return ((mask.sum(dim=1) * places).sum() / mask.sum()).item()


def _motion(silhouette: _Shape, frames: torch.Tensor, passing: float) -> tuple[str, str]:
    """What moves, the shape or the camera, and how fast. `passing` is how fast the pattern moves to the right."""
    right, down = (_slope(frames, along) for along in silhouette.centres()[frames].T)
    growth = _slope(frames, silhouette.areas[frames].log()) / 2 / ZOOM_RATE
    if max(abs(right), abs(down)) < _LEAST_SPEED < abs(growth):
        return ("zooms in" if growth > 0 else "zooms out"), _speed(growth)
    if abs(passing) > _LEAST_SPEED:
        names = {-way: name for name, way in PANS.items()}
        return names[int(math.copysign(1, passing))], _speed(passing)
    if max(abs(right), abs(down)) > _LEAST_SPEED:
        ways = {way: name for name, way in DIRECTIONS.items()}
        if abs(right) > abs(down):
            return ways[int(math.copysign(1, right)), 0], _speed(right)
        return ways[0, int(math.copysign(1, down))], _speed(down)
    return STILL, "steadily"


def _slope(times: torch.Tensor, values: torch.Tensor) -> float:
    """Of the straight line through the values."""
    offsets = times.float() - times.float().mean()
    return ((offsets * values).sum() / offsets.square().sum()).item()


def _speed(found: float) -> str:
    return min(SPEEDS, key=lambda name: abs(math.log(abs(found) / SPEEDS[name])))


def _pattern(share: torch.Tensor, counts: torch.Tensor) -> tuple[str, float]:
    """The pattern, and how far it goes to the right in a frame; 0 where there is nothing to see of that.

    `share` says how much of the darker tone pixels have, `counts` which are of the background.
    """
    weight = counts.float()
    mean = (share * weight).sum(dim=(1, 2), keepdim=True) / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    waves = (share.clamp(0, 1) - mean) * weight
    if (waves.square().sum() / weight.sum().clamp(min=1)).sqrt() < _LEAST_CONTRAST:
        return "plain", 0.0
    columns = share.shape[2]
    across = torch.polar(torch.ones(columns), (torch.arange(columns) + 0.5) * _STEP * 2 * math.pi / PERIOD)
    return "striped", _drift((waves.to(torch.complex64) * across).sum(dim=(1, 2)))


def _drift(component: torch.Tensor) -> float:
    """How many pixels a frame a wave of the pattern's period moves, from its component in each frame."""
    turns = (component[1:] * component[:-1].conj()).angle()
    phase = torch.cat((torch.zeros(1), turns.cumsum(0)))
    return _slope(torch.arange(len(phase)), phase) * PERIOD / 2 / math.pi


def panned(video: torch.Tensor) -> float:
    """How many pixels a frame a camera goes to the right over whatever it sees: of (frames, height, width, 3).

    Pictures some frames apart are laid over each other, the later one further to the right, where they differ least.
    """
    pixels = avg_pool2d(video.permute(0, 3, 1, 2).float() / 255, _STEP)
    apart = min(len(pixels) - 1, _APART)
    before, after = pixels[:-apart], pixels[apart:]
    most = min(pixels.shape[3] // 2, math.ceil(apart * 2 * max(SPEEDS.values()) / _STEP))

    def difference(shift: int) -> float:
        width = pixels.shape[3] - abs(shift)
        first = before[..., max(shift, 0) : max(shift, 0) + width]
        second = after[..., max(-shift, 0) : max(-shift, 0) + width]
        return (first - second).square().mean().item()

    found = [difference(shift) for shift in range(-most, most + 1)]
    least = min(range(1, len(found) - 1), key=lambda place: found[place])
    left, middle, right = found[least - 1 : least + 2]
    bend = left - 2 * middle + right
    between = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return (least - most + between) * _STEP / apart
