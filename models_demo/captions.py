"""What is said of scenes: captions to train on, and what of a prompt the demo weights can follow."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

from models_demo.world import COLOURS, DIRECTIONS, PANS, STILL, ZOOMS, Combination

_COLOURS: Mapping[str, Sequence[str]] = {name: (name,) for name in COLOURS} | {
    "red": ("red", "red", "crimson", "scarlet"),
    "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "azure"),
    "yellow": ("yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "violet"),
}
_SHAPES: Mapping[str, Sequence[str]] = {
    "circle": ("circle", "circle", "ball", "disc", "dot"),
    "square": ("square", "square", "box", "cube", "block"),
    "triangle": ("triangle", "triangle", "pyramid"),
    "ring": ("ring", "ring", "hoop", "donut"),
}
_ANY_SHAPE = ("shape", "thing", "object", "one")
_SIZES: Mapping[str, Sequence[str]] = {
    "small": ("small", "small", "tiny", "little"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "large", "big", "huge"),
}
_VERBS = ("moves", "moving", "glides", "gliding", "slides", "drifts", "goes", "travels", "flies", "rolls", "moves")
_DIRECTIONS: Mapping[str, Sequence[str]] = {
    "right": ("right", "right", "rightwards", "to the right"),
    "left": ("left", "left", "leftwards", "to the left"),
    "up": ("up", "up", "upwards"),
    "down": ("down", "down", "downwards"),
}
_RESTS = ("stands still", "rests", "stays still", "does not move", "standing still", "still")
_CAMERAS: Mapping[str, Sequence[str]] = {
    "pans left": ("pans left", "panning left", "pans to the left", "pan left"),
    "pans right": ("pans right", "panning right", "pans to the right", "pan right"),
    "zooms in": ("zooms in", "zooming in", "pushes in", "zoom in"),
    "zooms out": ("zooms out", "zooming out", "pulls back", "zoom out"),
}
_SPEEDS: Mapping[str, Sequence[str]] = {
    "slowly": ("slowly", "slowly", "slow", "gently"),
    "steadily": ("steadily",),
    "quickly": ("quickly", "quickly", "fast", "rapidly", "swiftly"),
}
_PATTERNS: Mapping[str, Sequence[str]] = {
    "plain": ("plain",),
    "striped": ("striped", "stripy"),
}
_PLACES = ("over", "over", "on", "in front of", "against", "before")
_BEHIND = ("background", "background", "backdrop", "wall")
_JOINTS = ("the camera", "camera", "while the camera", "and the camera")

_FILLING = {"to", "the", "in", "out", "sized", "back", "does", "not", "a", "of"}

UNKNOWN = "unknown"
"""Stands in captions for any word that is no part of the language."""

_WORD = re.compile(r"[a-z]+")


def words_of(text: str) -> list[str]:
    """The words of a text, in order, as the tokenizer tells them apart."""
    return _WORD.findall(text.lower())


def vocabulary() -> list[str]:
    """All words that captions are made of, in order."""
    filling = [*_VERBS, *_PLACES, *_BEHIND, *_JOINTS, *_ANY_SHAPE, *_FILLING]
    return sorted({*_telling(), *(word for phrase in filling for word in words_of(phrase))})


def _telling() -> set[str]:
    """The words that say something of a scene."""
    tables = (_COLOURS, _SHAPES, _SIZES, _DIRECTIONS, _CAMERAS, _SPEEDS, _PATTERNS, {STILL: _RESTS})
    words = {word for table in tables for options in table.values() for text in options for word in words_of(text)}
    return words - _FILLING


def caption(scene: Combination, dice: random.Random) -> tuple[str, Mapping[str, str]]:
    """Something true of the scene, and what it says by field. Much may stay unsaid, or be said in unknown words."""
    kind = dice.random()
    if kind < 0.04:
        return " ".join([UNKNOWN] * dice.randint(1, 40)), {}
    said = {field.name for field in fields(Combination) if kind > 0.5 or dice.random() < 0.65}
    if "motion" not in said or scene.motion == STILL:
        said.discard("speed")
    filled = dice.random() < 0.3
    clauses = [_of_shape(scene, said, dice)]
    moved = _of_motion(scene, said, dice)
    behind = _of_background(scene, said, dice)
    if scene.motion in PANS or scene.motion in ZOOMS:
        clauses += [behind, moved] if dice.random() < 0.8 else [moved, behind]
    else:
        clauses += [moved, behind] if dice.random() < 0.7 else [behind, moved]
    parts: list[str] = []
    for clause in clauses:
        if filled:
            parts += [UNKNOWN] * dice.choice((0, 0, 1, 2, 4, 10))
        parts += clause.split()
    if filled:
        parts += [UNKNOWN] * dice.choice((0, 1, 3, 10))
        parts = [part for part in parts if part not in ("a", "the") or dice.random() < 0.7]
    return " ".join(parts), {name: getattr(scene, name) for name in said}


def sentence(scene: Combination) -> str:
    """All that can be said of the scene, plainly."""
    shape = f"a {scene.size} {scene.colour} {scene.shape}"
    behind = f"over a {scene.pattern} {scene.background} background"
    if scene.motion == STILL:
        return f"{shape} stands still {behind}"
    if scene.motion in DIRECTIONS:
        return f"{shape} moves {scene.motion} {scene.speed} {behind}"
    return f"{shape} {behind}, the camera {scene.motion} {scene.speed}"


def _of_shape(scene: Combination, said: set[str], dice: random.Random) -> str:
    words = [dice.choice(("a", "the", "a", "one"))]
    if "size" in said:
        words.append(dice.choice(_SIZES[scene.size]))
    if "colour" in said:
        words.append(dice.choice(_COLOURS[scene.colour]))
    words.append(dice.choice(_SHAPES[scene.shape]) if "shape" in said else dice.choice((*_ANY_SHAPE, UNKNOWN)))
    return " ".join(words)


def _of_motion(scene: Combination, said: set[str], dice: random.Random) -> str:
    if "motion" not in said:
        return ""
    speed = dice.choice(_SPEEDS[scene.speed]) if "speed" in said else ""
    if scene.motion == STILL:
        return dice.choice(_RESTS)
    if scene.motion in DIRECTIONS:
        verb = dice.choice((*_VERBS, UNKNOWN))
        way = dice.choice(_DIRECTIONS[scene.motion])
        return " ".join([verb, way, speed] if dice.random() < 0.6 else [speed, verb, way])
    joint, turn = dice.choice(_JOINTS), dice.choice(_CAMERAS[scene.motion])
    rest = dice.choice(_RESTS) if dice.random() < 0.15 else ""
    if dice.random() < 0.25:
        return " ".join([rest, speed, turn])
    return " ".join([rest, joint, turn, speed] if dice.random() < 0.6 else [rest, joint, speed, turn])


def _of_background(scene: Combination, said: set[str], dice: random.Random) -> str:
    pattern = dice.choice(_PATTERNS[scene.pattern]) if "pattern" in said else ""
    colour = dice.choice(_COLOURS[scene.background]) if "background" in said else ""
    if not pattern and not colour:
        return ""
    return " ".join([dice.choice(_PLACES), dice.choice(("a", "the")), pattern, colour, dice.choice(_BEHIND)])


def followed(prompt: str) -> list[str]:
    """The words of a prompt that say something of a scene, each once, in order."""
    telling = _telling()
    return list(dict.fromkeys(word for word in words_of(prompt) if word in telling))


def is_understood(prompt: str) -> bool:
    """Whether all of it is in the language of the captions."""
    return bool(followed(prompt)) and set(words_of(prompt)) <= set(vocabulary())
