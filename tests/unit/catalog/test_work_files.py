"""What a version may say of its work, and how faults in it are told."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.catalog.__main__ import main
from services.catalog.adapters.yaml_models import load_models
from services.catalog.domain import ROUTING_FIELDS
from services.chassis.config import REPOSITORY
from services.chassis.strict_yaml import ConfigurationInvalid

Breaker = Callable[[Callable[[dict[str, Any]], None]], Path]


def _version(model: dict[str, Any]) -> dict[str, Any]:
    return model["versions"][0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda v: v["quantities"].update(tokens="widht * 2"), r"quantities\.tokens: 'widht' is no input"),
        (lambda v: v["quantities"].update(tokens="latents * 2"), r"quantities\.tokens: 'latents' is no input"),
        (lambda v: v["quantities"].update(tokens="width +"), r"quantities\.tokens: is no expression"),
        (lambda v: v["quantities"].update(width="2"), r"quantities\.width: is the name of an input"),
        (lambda v: v["quantities"].update(Big="2"), r"quantities\.Big.*: String should match"),
        (lambda v: v["work"][0].update(amount="prompt"), r"work\[0\]\.amount: 'prompt' is no input"),
        (lambda v: v["work"][0].update(amount="ar_step - 6"), r"work\[0\]\.amount: must be a finite number of at"),
        (lambda v: v["work"][0].update(amount="ar_step - 5"), r"work\[0\]\.amount: must be above 0 for the example"),
        (lambda v: v["work"][0].update(amount="1 / 0"), r"work\[0\]\.amount: divides by zero"),
        (lambda v: v["work"][0].update(amount="seed > 1"), r"work\[0\]\.amount: must be a number, is True"),
        (lambda v: v["work"][0].update(share=0.3), r"work: the shares must add up to 1, and add up to 1\.298"),
        (lambda v: v["work"][0].update(share=-1.0), r"work\[0\]\.share: Input should be greater than 0"),
        (lambda v: v["work"][0].update(phase="resting"), r"work\[0\]\.phase: Input should be 'encoding', "),
        (lambda v: v.update(work=[]), r"work: List should have at least 1 item"),
        (lambda v: v.update(memory="0"), r"memory: must be above 0 for the example"),
        (lambda v: v.update(output_seconds="fps - fps"), r"output_seconds: must be above 0 for the example"),
        (lambda v: v.pop("memory"), r"memory: Field required"),
        (lambda v: v.update(probe_inputs=[]), r"probe_inputs: List should have at least 1 item"),
        (lambda v: v["probe_inputs"][1].update(num_frames=300), r"probe_inputs\[1\]\.num_frames: 300 is greater than"),
        (lambda v: v["probe_inputs"][1].update(colour=1), r"probe_inputs\[1\]: .*'colour' was unexpected"),
        (lambda v: v["probe_inputs"][1].update(region="x"), r"probe_inputs\[1\]\.region: is the name of a routing"),
        (lambda v: v["probe_inputs"][1].update(num_inference_steps=99), r"probe_inputs\[1\]: must not ask for more"),
        (lambda v: v["probe_inputs"].reverse(), r"probe_inputs\[0\]: must ask for the least work of all"),
    ],
)
def test_wrong_work_is_refused_with_line_and_field(
    broken_model: Breaker, change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    directory = broken_model(lambda model: change(_version(model)))
    with pytest.raises(ConfigurationInvalid) as caught:
        load_models(directory)
    assert len(caught.value.faults) == 1, caught.value.faults
    assert re.search(rf"skywork-skyreels-v2\.yaml:\d+: versions\[0\]\.{fault}", caught.value.faults[0])


def test_a_version_need_not_say_how_long_its_video_is(broken_model: Breaker) -> None:
    (model,) = load_models(broken_model(lambda model: _version(model).pop("output_seconds")))
    assert model.versions[0].work.example_output_seconds is None


def test_plain_numbers_are_expressions(broken_model: Breaker) -> None:
    (model,) = load_models(broken_model(lambda model: _version(model)["work"][0].update(amount=3.5)))
    work = model.versions[0].work
    assert work.of({"num_frames": 17}).parts[0] == 1


def test_a_file_is_checked_without_starting_the_catalogue(
    broken_model: Breaker, capsys: pytest.CaptureFixture[str]
) -> None:
    right = REPOSITORY / "config" / "models" / "wan-ai-wan-2-1.yaml"
    wrong = broken_model(lambda model: _version(model).update(memory="0", parameters_billions=-1.0)) / (
        "skywork-skyreels-v2.yaml"
    )
    with pytest.raises(SystemExit) as ended:
        main(["check", str(right)])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{right}: ok\n"
    with pytest.raises(SystemExit) as ended:
        main(["check", str(wrong), str(right)])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{right}: ok"
    assert re.match(rf"{re.escape(str(wrong))}:\d+: versions\[0\]\.parameters_billions: ", lines[0])
    with pytest.raises(SystemExit, match="usage"):
        main(["check"])


def test_authors_are_told_every_field_of_the_work_and_every_routing_field() -> None:
    readme = (REPOSITORY / "config" / "models" / "README.md").read_text()
    for word in ("quantities", "work", "memory", "output_seconds", "probe_inputs", *ROUTING_FIELDS):
        assert f"`{word}`" in readme
