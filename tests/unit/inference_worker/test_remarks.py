"""Weights that have something to say of a request say it in the render's warnings."""

from dataclasses import replace

import pytest

from services.inference_worker.adapters.engines import demo_remarks, recipes, sources
from services.inference_worker.adapters.engines.remarking import RemarkingEngine
from services.inference_worker.adapters.scripted_engine import ScriptedEngine


@pytest.mark.parametrize(
    ("prompt", "heard"),
    [
        ("a red square moves right over a blue background", None),
        ("A cat and a dog inspect a compact GPU server in a cozy lab", "no word"),
        ("A red paper lantern drifts down a mountain stream, slow camera", "red, down, slow"),
        ("", "no word"),
    ],
)
def test_demo_weights_say_what_of_a_prompt_they_follow(prompt, heard):
    remarks = demo_remarks.on_prompt({"prompt": prompt})
    assert [heard in remark for remark in remarks] == ([True] if heard else [])


def test_remarks_join_the_warnings_of_the_plan_and_change_nothing_else(listener):
    plain = ScriptedEngine()
    engine = RemarkingEngine(plain, lambda inputs: (f"seed {inputs['seed']} is not a lucky one",))
    inputs = {"seed": 13, "num_frames": 3}
    plan = engine.plan(inputs)
    assert plan.warnings == (*plain.plan(inputs).warnings, "seed 13 is not a lucky one")
    assert plan.total_steps == plain.plan(inputs).total_steps
    assert (engine.fingerprint, engine.free_inputs) == (plain.fingerprint, plain.free_inputs)
    ear = listener()
    engine.render(inputs, ear)
    assert len(ear.frames) == 3
    assert engine.make_room() == plain.make_room()


def test_an_engine_on_weights_with_remarks_makes_them(load, skyreels_inputs, monkeypatch):
    remarking = replace(recipes.RANDOM, remarks={"SkyReelsV2DiffusionForcingPipeline": demo_remarks.on_prompt})
    monkeypatch.setattr(sources, "RANDOM", remarking)
    warned = [load("skyreels").plan(skyreels_inputs(prompt=prompt)).warnings for prompt in ("a cat", "a red square")]
    assert [len(warnings) for warnings in warned] == [1, 0]
