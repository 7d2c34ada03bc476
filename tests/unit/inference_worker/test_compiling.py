"""Compiled kernels: not in the first render, and a render goes on as it began."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.exc import Unsupported

from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.engines.compiling import CompilingEngine
from services.inference_worker.adapters.engines.state import RenderState, pack, unpack
from services.inference_worker.config import WorkerSettings
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import CheckpointRefused, RenderStopped
from services.inference_worker.ports import Moment, Plan, Rendered

SMALL = {"width": 64}
STEPS = 3


class Counting:
    """An engine with one region, which makes the kernels it ran with visible: eager ones add 1, compiled ones 1.5."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.fingerprint = facts
        self.free_inputs = frozenset({"prompt"})
        self.step: Callable[[torch.Tensor], torch.Tensor] = lambda value: value + 1

    def compile_regions(self, compile: Any) -> None:  # noqa: A002 — the name that engines agreed on
        self.step = compile(self.step)

    def plan(self, inputs: Any) -> Plan:
        return Plan(inputs["width"], 64, 4, 7, STEPS, {}, warnings=("from the engine",))

    def render(self, inputs: Any, listener: Any, resume_from: bytes | None = None) -> Rendered:
        value, done = torch.zeros(1), 0
        if resume_from:
            state = unpack(resume_from, self.fingerprint, inputs, free=self.free_inputs)
            value, done = state.tensors["value"], state.facts["done"]
        while done < STEPS:
            value, done = self.step(value), done + 1
            state = RenderState({"value": value}, {"done": done})
            checkpoint = partial(pack, state, self.fingerprint, inputs)
            listener.report(Moment(Phase.DENOISING, 0.5, done, checkpoint=checkpoint))
        listener.value = value.item()
        return Rendered({})

    def make_room(self) -> bool:
        return True


class Ear:
    """Takes every checkpoint; stops after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.value = 0.0
        self.checkpoints: list[bytes] = []
        self._stop_after = stop_after

    def report(self, moment: Moment) -> None:
        assert moment.checkpoint
        self.checkpoints.append(moment.checkpoint())
        if moment.done_steps == self._stop_after:
            raise RenderStopped


def half_more(region):
    return lambda value: region(value) + 0.5


def impossible(region):
    def compiled(value):
        raise Unsupported("a branch on a value", "")

    return compiled


@pytest.fixture
def an_engine():
    def an_engine(compiled=half_more):
        facts = {"weights": "w", "kernels": "eager"}
        return CompilingEngine(Counting(facts), facts, compiled)

    return an_engine


def made(engine, inputs=SMALL, resume_from=None):
    ear = Ear()
    engine.render(inputs, ear, resume_from)
    return ear


def notes(engine, inputs=SMALL):
    return " ".join(engine.plan(inputs).warnings)


def test_the_first_video_is_eager_and_says_so(an_engine):
    engine = an_engine()
    assert "without compiled kernels" in notes(engine)
    assert made(engine).value == STEPS


def test_the_videos_after_it_are_compiled_and_the_first_of_each_size_says_that_it_compiles(an_engine):
    engine = an_engine()
    made(engine)
    for width in (64, 128):
        assert "takes part of its time" in notes(engine, {"width": width})
        assert made(engine, {"width": width}).value == 1.5 * STEPS
        assert notes(engine, {"width": width}) == "from the engine"


def test_a_first_video_that_is_stopped_leaves_the_next_one_eager(an_engine):
    engine = an_engine()
    with pytest.raises(RenderStopped):
        engine.render(SMALL, Ear(stop_after=1))
    assert made(engine).value == STEPS


@pytest.mark.parametrize("after", range(1, STEPS))
def test_an_eager_render_goes_on_eagerly_where_kernels_are_compiled(an_engine, after):
    checkpoint = made(an_engine()).checkpoints[after - 1]
    engine = an_engine()
    made(engine)
    assert made(engine, resume_from=checkpoint).value == STEPS
    assert made(engine).value == 1.5 * STEPS


@pytest.mark.parametrize("after", range(1, STEPS))
def test_a_compiled_render_goes_on_compiled_in_a_fresh_engine(an_engine, after):
    engine = an_engine()
    made(engine)
    checkpoint = made(engine).checkpoints[after - 1]
    assert made(an_engine(), resume_from=checkpoint).value == 1.5 * STEPS


def test_a_compiled_render_goes_on_compiled_with_another_prompt_too(an_engine):
    engine = an_engine()
    made(engine)
    checkpoint = made(engine, {**SMALL, "prompt": "a cat"}).checkpoints[0]
    assert made(an_engine(), {**SMALL, "prompt": "a dog"}, resume_from=checkpoint).value == 1.5 * STEPS


def test_a_checkpoint_of_something_else_is_refused_by_the_engine(an_engine):
    engine = an_engine()
    checkpoint = made(engine).checkpoints[0]
    with pytest.raises(CheckpointRefused, match="other inputs"):
        made(engine, {"width": 128}, resume_from=checkpoint)


def test_the_fingerprint_says_how_the_last_render_was_made(an_engine):
    engine = an_engine()
    made(engine)
    assert engine.fingerprint["kernels"] == "eager"
    made(engine)
    assert engine.fingerprint["kernels"] == "compiled"


def test_what_cannot_be_compiled_costs_no_render_and_fits_no_other_checkpoint(an_engine):
    engine = an_engine(impossible)
    made(engine)
    broken = made(engine)
    assert broken.value == STEPS
    for other in (an_engine(), an_engine(impossible), engine):
        with pytest.raises(CheckpointRefused, match="kernels was compiled in part"):
            made(other, resume_from=broken.checkpoints[0])
    assert "without compiled kernels" in notes(engine)
    assert made(engine).value == STEPS
    assert engine.fingerprint["kernels"] == "eager"


def test_other_errors_of_a_region_are_not_taken_for_those_of_the_compiler(an_engine):
    def broken(region):
        def compiled(value):
            raise RuntimeError("out of memory")

        return compiled

    engine = an_engine(broken)
    made(engine)
    with pytest.raises(RuntimeError, match="out of memory"):
        made(engine)


@pytest.mark.parametrize(
    ("setting", "device", "compiles"),
    [("auto", "cpu", False), ("auto", "cuda:0", True), ("on", "cpu", True), ("off", "cuda:0", False)],
)
def test_only_gpus_are_worth_compiling_for_unless_told_otherwise(setting, device, compiles):
    assert WorkerSettings(compile=setting, worker_device=device).compiles_kernels is compiles


def test_room_is_made_by_the_engine(an_engine):
    assert an_engine().make_room()


@pytest.mark.parametrize("slug", ["svd", "skyreels", "wan"])
def test_every_engine_runs_its_compiled_regions_and_its_checkpoints_say_so(load, listener, request, slug):
    inputs = request.getfixturevalue(f"{slug}_inputs")()
    engine, calls = load(slug), []

    def counting(region):
        return lambda *args, **kwargs: (calls.append(region), region(*args, **kwargs))[1]

    compiling = CompilingEngine(engine, engine.fingerprint, counting)
    made = []
    for kernels, other in (("eager", "compiled"), ("compiled", "eager")):
        ear = listener()
        ear.takes_checkpoints = True
        compiling.render(inputs, ear)
        checkpoint = ear.checkpoints[1]
        unpack(checkpoint, {**engine.fingerprint, "kernels": kernels}, inputs)
        with pytest.raises(CheckpointRefused, match="kernels"):
            unpack(checkpoint, {**engine.fingerprint, "kernels": other}, inputs)
        assert bool(calls) == (kernels == "compiled")
        made.append(ear.frames)
    assert np.array_equal(*made)


COMPILE_FOR_REAL = """
import json, sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from services.inference_worker.adapters.engines.compiling import compile_whole, prepare_compiler

def region(x, y):
    return torch.nn.functional.gelu(x @ y).softmax(-1) * x.sum()

prepare_compiler(Path(sys.argv[1]))
compiled = compile_whole(region)
generator = torch.Generator().manual_seed(0)
outcomes = []
for size in (8, 16):
    x, y = torch.randn(size, size, generator=generator), torch.randn(size, size, generator=generator)
    outcomes.append((compiled(x, y).tolist(), region(x, y).tolist()))
print(json.dumps({"outcomes": outcomes, "hits": counters["inductor"]["fxgraph_cache_hit"],
                  "misses": counters["inductor"]["fxgraph_cache_miss"], "graphs": counters["stats"]["unique_graphs"]}))
"""


@pytest.mark.only_full_size
def test_compiled_kernels_are_close_kept_on_disk_and_the_same_in_the_next_process(tmp_path):
    def run():
        done = subprocess.run(
            [sys.executable, "-c", COMPILE_FOR_REAL, str(tmp_path / "cache")],
            cwd=REPOSITORY,
            env=os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first, second = run(), run()
    for compiled, eager in first["outcomes"]:
        torch.testing.assert_close(torch.tensor(compiled), torch.tensor(eager), rtol=1e-5, atol=1e-5)
    assert first["graphs"] == 2, "a kernel for each size"
    assert (first["hits"], first["misses"]) == (0, 2)
    assert any((tmp_path / "cache").rglob("*.so"))
    assert second["misses"] == 0
    assert second["outcomes"] == first["outcomes"]
