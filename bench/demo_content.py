"""Whether demo videos show what was asked for: prompts of held-out combinations, read back from the pixels.

    python -m bench.demo_content [--combinations 200] [--of-other-ways 40]

Renders run through the worker's own engine on the demo weights, at 512 × 320, 29 frames and 20 steps. Columns say in
how many of the videos a property was read as it was asked; a scene that stands still has no speed. "All four" counts
videos with the right shape, colour, motion and speed. The last column is the mean CPU time of a video.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.examples import Audience, examples
from models_demo.captions import sentence
from models_demo.reading import Reading, read
from models_demo.world import Combination, held_out
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader
from services.inference_worker.config import WorkerSettings
from services.inference_worker.ports import Engine

SKYREELS, WAN = "skywork-skyreels-v2", "wan-ai-wan-2-1"
SIZE: Mapping[str, Any] = {"width": 512, "height": 320, "num_frames": 29, "num_inference_steps": 20}
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


def main() -> None:
    """Print the table, a line a way."""
    options = argparse.ArgumentParser(prog="python -m bench.demo_content", description=__doc__)
    options.add_argument("--combinations", type=int, default=200, help="of the first way")
    options.add_argument("--of-other-ways", type=int, default=40, help="combinations of each other way")
    settings = options.parse_args()
    columns = [*(field.name for field in fields(Combination)), "all four"]
    print(f"{'':26}{'videos':>7}" + "".join(f"{name:>12}" for name in columns) + f"{'CPU s':>8}", flush=True)
    engines: dict[str, Engine] = {}
    for name, (slug, asked) in WAYS.items():
        count = settings.of_other_ways if engines else settings.combinations
        if slug not in engines:
            engines[slug] = engine_of(slug)
        right, seconds = agreement(engines[slug], slug, count, asked)
        shares = "".join(f"{right[column] / count:12.0%}" for column in columns)
        print(f"{name:26}{count:7}{shares}{seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
