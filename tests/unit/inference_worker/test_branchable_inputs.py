"""What the catalogue says may change in a branch is what the engines go on with."""

from pathlib import Path

import pytest
import yaml

from services.inference_worker.adapters.engines import wan
from services.inference_worker.adapters.engines.skyreels import engine as skyreels
from services.inference_worker.adapters.engines.stable_video import engine as stable_video

MODELS = Path(__file__).parents[3] / "config" / "models"


@pytest.mark.parametrize(
    ("file", "engine"),
    [
        ("skywork-skyreels-v2.yaml", skyreels),
        ("stabilityai-stable-video-diffusion.yaml", stable_video),
        ("wan-ai-wan-2-1.yaml", wan),
    ],
)
def test_a_branch_may_change_exactly_what_the_engine_takes_anew(file, engine):
    for version in yaml.safe_load((MODELS / file).read_text())["versions"]:
        inputs = version["input_schema"]["properties"]
        branchable = {name for name, schema in inputs.items() if schema.get("x-forge-branchable")}
        assert branchable == engine._FREE_INPUTS
