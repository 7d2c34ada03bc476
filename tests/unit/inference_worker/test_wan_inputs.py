"""Rules of the inputs of Wan 2.1."""

from dataclasses import asdict

import pytest
import yaml

from services.chassis.config import REPOSITORY
from services.chassis.errors import InvalidInput
from services.inference_worker.domain.inputs.wan import WanInputs


@pytest.fixture(scope="module")
def catalogued():
    return yaml.safe_load((REPOSITORY / "config" / "models" / "wan-ai-wan-2-1.yaml").read_text())["versions"][0]


def test_the_engine_has_the_inputs_and_defaults_of_the_catalogue(catalogued):
    properties = catalogued["input_schema"]["properties"]
    defaults = {name: keywords["default"] for name, keywords in properties.items() if "default" in keywords}
    read = asdict(WanInputs.read({"prompt": "p"}))
    assert read == {"prompt": "p", "seed": 0, **defaults}
    assert set(read) == set(properties)


def test_the_example_of_the_catalogue_is_read_as_it_stands(catalogued):
    example = {name: value for name, value in catalogued["example"].items() if not name.startswith("model")}
    assert asdict(WanInputs.read(example)) == example


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_frames", 80), ("num_frames", 82), ("width", 840), ("height", 488), ("guidance_scale", "6"), ("ar_step", 5)],
)
def test_what_the_pipeline_would_round_or_ignore_is_refused(field, value):
    with pytest.raises(InvalidInput) as caught:
        WanInputs.read({"prompt": "p", field: value})
    assert [violation.field for violation in caught.value.violations] == [field]


def test_the_negative_prompt_guides_only_where_there_is_guidance():
    inputs = {"prompt": "p", "negative_prompt": "n"}
    assert WanInputs.read(inputs).guiding_prompts == ("p", "n")
    assert WanInputs.read({**inputs, "guidance_scale": 1}).guiding_prompts == ("p",)
