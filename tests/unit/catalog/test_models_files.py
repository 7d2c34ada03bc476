"""What a model's file may be, and how its faults are told."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.catalog.__main__ import chosen
from services.catalog.adapters.yaml_models import load_models
from services.catalog.domain import EFFECT_ARITIES, RULE_ARITIES
from services.chassis.config import REPOSITORY
from services.chassis.strict_yaml import ConfigurationInvalid

Breaker = Callable[[Callable[[dict[str, Any]], None]], Path]


def _version(model: dict[str, Any]) -> dict[str, Any]:
    return model["versions"][0]


def _inputs(model: dict[str, Any]) -> dict[str, Any]:
    return _version(model)["input_schema"]["properties"]


def _rules(model: dict[str, Any]) -> list[dict[str, Any]]:
    return _version(model)["input_schema"]["x-forge-rules"]


def _mean(model: dict[str, Any]) -> None:
    del model["title"]
    model["tags"] = []
    _version(model)["vram_floor_gib"] = -1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda m: (m.update(slug="other"), _version(m)["example"].update(model="other")),
            "slug: the file must be named other",
        ),
        (lambda m: m.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda m: m.update(tags=["a", "a"]), r"tags\[1\]: 'a' is given twice"),
        (lambda m: m["versions"].append(_version(m)), r"versions\[1\]: 'df-1-3b-540p-diffusers' is given twice"),
        (lambda m: m.update(license={"id": "mit", "url": "http://x"}), r"license\.url: String should match"),
        (
            lambda m: _version(m).update(weights_revision="main"),
            r"versions\[0\]\.weights_revision: String should match",
        ),
        (
            lambda m: _version(m).update(context_window_tokens="512"),
            "context_window_tokens: Input should be a valid int",
        ),
        (lambda m: _version(m).update(max_run_seconds=0), "max_run_seconds: Input should be greater than 0"),
        (lambda m: _version(m).update(max_run_seconds=1.5), "max_run_seconds: Input should be a valid int"),
        (lambda m: _version(m).update(max_run_seconds=2**31), "max_run_seconds: Input should be less than or equal"),
        (
            lambda m: _version(m)["published_figures"][0]["rows"][2].update(model_ms=5),
            r"rows\[2\]\.status: a row that was not probed has no figures",
        ),
        (
            lambda m: _version(m)["published_figures"][0]["rows"][0].update(gpu_type="B300", region="uk-south1"),
            r"published_figures\[0\]\.rows\[1\]: the target is given twice",
        ),
        (lambda m: _inputs(m)["fps"].update(type="whole"), r"properties\.fps\.type: 'whole' is not valid"),
        (lambda m: _inputs(m)["fps"].update(minimun=1), r"properties\.fps\.minimun: is no keyword of input schemas"),
        (lambda m: _inputs(m)["fps"].update({"x-forge-colour": 1}), r"fps\.x-forge-colour: is no keyword"),
        (lambda m: _inputs(m)["fps"].update({"x-forge-unit": "fps"}), r"fps\.x-forge-unit: must be one of frames, "),
        (lambda m: _inputs(m)["fps"].update(default=61), r"fps\.default: 61 is greater than the maximum of 60"),
        (lambda m: _inputs(m)["fps"].update(maximum=2**53 + 1), r"fps\.maximum: is too large to arrive exactly"),
        (lambda m: _inputs(m)["fps"].update(maximum=float("inf")), r"fps\.maximum: must be a finite number"),
        (lambda m: _inputs(m)["fps"].pop("description"), r"fps\.description: is required"),
        (lambda m: _inputs(m)["prompt"].update(default="x"), r"prompt\.default: a required input has no default"),
        (lambda m: _inputs(m)["prompt"].update(pattern="("), r"prompt\.pattern: '\(' is not a 'regex'"),
        (lambda m: _inputs(m)["prompt"].update({"x-forge-media": "image"}), "x-forge-media and x-forge-media-types go"),
        (lambda m: _inputs(m).update(region=_inputs(m)["fps"]), r"properties\.region: is the name of a routing field"),
        (lambda m: _inputs(m).update(prefer=_inputs(m)["fps"]), r"properties\.prefer: is the name of a routing field"),
        (
            lambda m: _version(m)["input_schema"].update(additionalProperties=True),
            r"input_schema\.additionalProperties: must be false",
        ),
        (lambda m: _version(m)["input_schema"].update(required=["x"]), r"required\[0\]: 'x' is no property"),
        (lambda m: _rules(m)[0].update(kind="odd"), r"x-forge-rules\[0\]\.kind: must be one of four_k_plus_one, "),
        (lambda m: _rules(m)[0].update(fields=[]), r"x-forge-rules\[0\]\.fields: four_k_plus_one needs a list of 1"),
        (lambda m: _rules(m)[0].update(fields=["x"]), r"x-forge-rules\[0\]\.fields\[0\]: 'x' is no property"),
        (
            lambda m: _version(m)["input_schema"]["x-forge-effects"][0].update(kind="four_k_plus_one"),
            r"x-forge-effects\[0\]\.kind: must be one of when_greater, when_guided",
        ),
        (lambda m: _rules(m)[0].update(note="x"), r"x-forge-rules\[0\]: must have kind, fields and text"),
        (lambda m: _version(m)["example"].update(fps=7.5), r"example\.fps: 7\.5 is not of type 'integer'"),
        (lambda m: _version(m)["example"].update(colour=1), r"example: .*'colour' was unexpected"),
        (lambda m: _version(m)["example"].pop("prompt"), r"example: 'prompt' is a required property"),
        (lambda m: _version(m)["example"].update(model="x"), r"example\.model: must be 'skywork-skyreels-v2'"),
    ],
)
def test_a_wrong_file_is_refused_with_file_line_and_field(
    broken_model: Breaker, change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    directory = broken_model(change)
    with pytest.raises(ConfigurationInvalid) as caught:
        load_models(directory)
    assert len(caught.value.faults) == 1
    assert re.search(rf"skywork-skyreels-v2\.yaml:\d+: .*{fault}", caught.value.faults[0]), caught.value.faults


def test_an_attempt_may_take_an_hour_unless_the_version_says_otherwise(broken_model: Breaker) -> None:
    (model,) = load_models(broken_model(lambda m: _version(m).pop("max_run_seconds")))
    assert model.versions[0].max_run_seconds == 3600
    (model,) = load_models(broken_model(lambda m: _version(m).update(max_run_seconds=90)))
    assert model.versions[0].max_run_seconds == 90


def test_all_faults_of_all_files_are_told_at_once(broken_model: Breaker) -> None:
    directory = broken_model(_mean)
    (directory / "empty.yaml").write_text("")
    with pytest.raises(ConfigurationInvalid) as caught:
        load_models(directory)
    assert len(caught.value.faults) == 4
    assert str(caught.value).count("\n") == 4


def test_a_directory_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="holds no"):
        load_models(tmp_path)


def test_every_kind_of_rule_and_every_keyword_of_ours_is_explained_to_authors() -> None:
    readme = (REPOSITORY / "config" / "models" / "README.md").read_text()
    for word in (
        *RULE_ARITIES,
        *EFFECT_ARITIES,
        "x-forge-unit",
        "x-forge-maps-to",
        "x-forge-media-types",
        "x-forge-ignored",
    ):
        assert f"`{word}`" in readme


def test_an_installation_may_serve_some_models_only():
    models = load_models(REPOSITORY / "config" / "models")
    slugs = [model.slug for model in models]
    assert [model.slug for model in chosen(models, [])] == slugs
    assert [model.slug for model in chosen(models, slugs[1:2])] == slugs[1:2]
    with pytest.raises(ConfigurationInvalid, match=f"FORGE_MODELS: there is no model nope; there are {slugs[0]}"):
        chosen(models, [slugs[0], "nope"])
