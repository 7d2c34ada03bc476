"""Whether demo videos show what was asked for, read back from their pixels.

    python -m bench.demo_content [--combinations 200] [--of-other-ways 40] [--pictures 10]

Renders run through the worker's own engines on the demo weights.

Text to video: prompts of held-out combinations, at 512 × 320, 29 frames and 20 steps. Columns say in how many of the
videos a property was read as it was asked; a scene that stands still has no speed. "All four" counts videos with the
right shape, colour, motion and speed.

Image to video: pictures that were not trained on, half of them scenes of the small world and half textures, at
512 × 320, 14 frames and 25 steps. Columns say how like the picture the first frame is, in the median and at worst, and
how fast the camera was to go to the right, in pixels a frame, and went.

The last column is the mean CPU time of a video.
"""

import argparse
import base64
import io
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.examples import Audience, examples
from models_demo.captions import sentence
from models_demo.reading import Reading, panned, read
from models_demo.textures import texture
from models_demo.world import Combination, View, draw, held_out, pan_speed, placed
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader
from services.inference_worker.config import WorkerSettings
from services.inference_worker.ports import Engine

SKYREELS, WAN, SVD = "skywork-skyreels-v2", "wan-ai-wan-2-1", "stabilityai-stable-video-diffusion"
WIDTH, HEIGHT = 512, 320
SIZE: Mapping[str, Any] = {"width": WIDTH, "height": HEIGHT, "num_frames": 29, "num_inference_steps": 20}
BUCKETS = (32, 64, 127, 191, 255)
"""Of motion, for image to video."""
MATTERS = ("shape", "colour", "motion", "speed")
WAYS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "SkyReels, in step": (SKYREELS, {"mode": "sync"}),
    "SkyReels, lagging blocks": (SKYREELS, {"mode": "async_full", "causal_block_size": 2, "ar_step": 4}),
    "SkyReels, causal": (SKYREELS, {"mode": "causal", "causal_block_size": 2, "ar_step": 4}),
    "SkyReels, in windows": (SKYREELS, {"base_num_frames": 29, "overlap_history": 13, "num_frames": 45}),
    "SkyReels, guidance 1": (SKYREELS, {"guidance_scale": 1}),
    "Wan": (WAN, {}),
}
"""Ways of making a video: the model, and what is asked of it besides."""


def inputs_of(slug: str, **changes: Any) -> Mapping[str, Any]:
    """A model's defaults, at the size that is read, with changes."""
    (example,) = examples(slug)
    return {**example.defaults, "negative_prompt": "", **SIZE, **changes}


def engine_of(slug: str) -> Engine:
    """The worker's engine on the demo weights."""
    (example,) = examples(slug)
    return LateEngineLoader(WorkerSettings(weights="demo")).load(example.version, lambda _moment: None)


def shown(engine: Engine, inputs: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The video that an engine makes: (frames, height, width, 3)."""
    audience = Audience()
    engine.render(inputs, audience)
    return np.concatenate(audience.frames)


def seen_in(video: NDArray[np.uint8]) -> Reading:
    """What a video shows."""
    return read(torch.from_numpy(video.copy()))


def agreement(engine: Engine, slug: str, count: int, asked: Mapping[str, Any]) -> tuple[Counter[str], float]:
    """How many of the videos have each property as asked, and all that matter; and the CPU seconds of one."""
    right: Counter[str] = Counter()
    began = time.process_time()
    for seed, combination in enumerate(held_out(count)):
        found = seen_in(shown(engine, inputs_of(slug, prompt=sentence(combination), seed=seed, **asked)))
        wrong = found.differences(combination)
        right.update(field.name for field in fields(Combination) if field.name not in wrong)
        right["all four"] += not set(MATTERS) & set(wrong)
    return right, (time.process_time() - began) / count


def unseen(number: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A picture that was not trained on: (height, width, 3). Even ones are scenes, odd ones textures."""
    if number % 2:
        picture = texture(height, width, 2**40 + number)  # seeds of the training have 32 bits
    else:
        scene = placed(held_out(number + 1)[-1], 1, height, width, random.Random(number))
        picture = draw(scene, [0], View(height, width))[0]
    return ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def moving(picture: NDArray[np.uint8], **changes: Any) -> Mapping[str, Any]:
    """What to ask of image to video for this picture."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    (example,) = examples(SVD)
    size = {"width": WIDTH, "height": HEIGHT, "num_frames": 14, "num_inference_steps": 25, "guidance_scale": 3}
    image = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {**example.defaults, **size, "image": image, **changes}


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The peak signal-to-noise ratio of two pictures, in dB."""
    return float(10 * np.log10(255**2 / np.square(first.astype(float) - second).mean()))


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(prog="python -m bench.demo_content", description=__doc__)
    options.add_argument("--combinations", type=int, default=200, help="of the first way")
    options.add_argument("--of-other-ways", type=int, default=40, help="combinations of each other way")
    options.add_argument("--pictures", type=int, default=10, help="for each motion bucket")
    settings = options.parse_args()
    print_text_to_video(settings.combinations, settings.of_other_ways)
    print()
    print_image_to_video(settings.pictures)


def print_text_to_video(combinations: int, of_other_ways: int) -> None:
    """A table with a line a way."""
    columns = [*(field.name for field in fields(Combination)), "all four"]
    print(f"{'':26}{'videos':>7}" + "".join(f"{name:>12}" for name in columns) + f"{'CPU s':>8}", flush=True)
    engines: dict[str, Engine] = {}
    for name, (slug, asked) in WAYS.items():
        count = of_other_ways if engines else combinations
        if slug not in engines:
            engines[slug] = engine_of(slug)
        right, seconds = agreement(engines[slug], slug, count, asked)
        shares = "".join(f"{right[column] / count:12.0%}" for column in columns)
        print(f"{name:26}{count:7}{shares}{seconds:8.1f}", flush=True)


def print_image_to_video(pictures: int) -> None:
    """A table with a line a motion bucket."""
    print(f"{'motion bucket':26}{'videos':>7}{'dB median':>12}{'dB worst':>12}{'px asked':>12}", end="")
    print(f"{'px median':>12}{'px least':>12}{'px most':>12}{'CPU s':>8}", flush=True)
    engine = engine_of(SVD)
    for bucket in BUCKETS:
        like, speeds, began = list[float](), list[float](), time.process_time()
        for number in range(pictures):
            picture = unseen(number)
            video = shown(engine, moving(picture, motion_bucket_id=bucket, seed=number))
            like.append(likeness(video[0], picture))
            speeds.append(panned(torch.from_numpy(video.copy())))
        seconds = (time.process_time() - began) / pictures
        print(f"{bucket:<26}{pictures:7}{median(like):12.1f}{min(like):12.1f}{pan_speed(bucket):12.2f}", end="")
        print(f"{median(speeds):12.2f}{min(speeds):12.2f}{max(speeds):12.2f}{seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
