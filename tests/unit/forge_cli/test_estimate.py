"""Rules of `forge estimate`."""

import json

import pytest
from forge.billing.v1.billing_estimate_service_pb2 import EstimateInputRequest, GetRunEstimateRequest
from google.protobuf import json_format

from tests.unit.forge_cli.builders import make_estimate, make_target_estimate


def body_of(platform):
    """The inference body that was asked about."""
    (asked,) = platform.asked
    assert isinstance(asked, EstimateInputRequest)
    return json_format.MessageToDict(asked.input)


def test_without_inputs_and_limits_it_is_the_example_that_is_estimated(run, platform):
    assert run("estimate", "toy", "--version", "v1", "--gpu-type", "L40S", "--region", "eu-north1").exit_code == 0
    (asked,) = platform.asked
    assert isinstance(asked, GetRunEstimateRequest)
    assert (asked.slug, asked.model_version, asked.gpu_type, asked.region) == ("toy", "v1", "L40S", "eu-north1")


def test_inputs_have_the_types_of_the_schema_and_required_ones_may_be_the_examples(run, platform):
    assert run("estimate", "toy", "-p", "num_frames=9", "--gpu-type", "H200").exit_code == 0
    body = body_of(platform)
    assert body.pop("image").startswith("data:image/png")
    assert body == {"model": "toy", "model_version": "v1", "gpu_type": "H200", "num_frames": 9}


def test_limits_alone_are_those_of_the_whole_example(run, platform):
    limits = ["--prefer", "fastest", "--max-cost-usd", "0.5", "--finish-within", "3m", "--deadline", "10m"]
    assert run("estimate", "toy", *limits).exit_code == 0
    body = body_of(platform)
    assert body["num_frames"] == 25
    assert (body["prefer"], body["max_cost_usd"], body["finish_within_seconds"]) == ("fastest", 0.5, 180)
    assert body["deadline"].endswith("Z")


def test_an_input_that_the_version_does_not_have_is_named_before_anything_is_estimated(run, platform):
    refused = run("estimate", "toy", "-p", "num_frame=9")
    assert refused.exit_code == 1
    assert "did you mean num_frames?" in refused.stderr
    assert platform.asked == []


@pytest.fixture
def two_targets(platform):
    """A selected target that nobody measured, and a measured one that is slower than the limits."""
    measured = make_target_estimate(
        gpu_type="H200",
        region="eu-north2",
        simulated=True,
        basis="measured",
        sample_count=12,
        request_seconds_p50=41.2,
        request_seconds_p90=43.0,
        cold_start_ms=73_100,
        estimated_first_cold_request_cost_usd=0.1429,
        idle_tail_seconds=900.0,
        idle_tail_cost_usd=1.125,
        peak_allocated_gib=12.44,
        keeps_limits=False,
        calibration={"sample_count": 40, "median_absolute_error": 0.06},
    )
    selected = make_target_estimate(
        phase_seconds={"decoding": 11.0, "denoising": 50.0}, caveats=["the figures rest on one sample"]
    )
    platform.estimate = make_estimate(
        selected, measured, output_seconds=5.0625, fastest_target=measured, warnings=["prompt has no effect"]
    )
    return platform


def test_it_says_where_the_request_would_run_why_and_how_long_each_phase_takes(run, two_targets):
    head = run("estimate", "toy").stdout.splitlines()[:3]
    assert head == [
        "toy v1 on L40S eu-north1: 61.0–79.4 s, 5.06 s of video, $0.0305 warm",
        "it is the cheapest",
        "of which denoising 50.0 s, decoding 11.0 s",
    ]


def test_a_target_shows_times_costs_memory_and_how_far_that_is_to_be_trusted(run, two_targets):
    shown = run("estimate", "toy", "--max-cost", "0.04").stdout
    lines = shown.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("H200"))
    facts = " ".join(lines[place].split())
    assert facts == "H200 eu-north2 41.2–43.0 s 73.1 s $0.0305 $0.1429 $1.12 $1.80 12.4 GiB measured 6 % not kept"
    assert lines[place + 1].split() == ["(simulated)", "15", "min", "00", "s", "n=12", "n=40"]
    assert lines[place + 2].split() == ["fastest"]


def test_what_to_know_before_one_relies_on_it_stands_below(run, two_targets):
    lines = run("estimate", "toy").stdout.splitlines()
    assert lines[-2:] == ["warning: prompt has no effect", "L40S eu-north1: the figures rest on one sample"]


def test_limits_are_no_column_when_there_are_none(run, two_targets):
    assert "LIMITS" not in run("estimate", "toy", "--prefer", "fastest").stdout


def test_a_target_that_is_not_offered_is_marked(run, platform):
    platform.estimate = make_estimate(make_target_estimate(offered=False))
    assert "(not offered)" in run("estimate", "toy").stdout


def test_json_is_the_whole_answer(run, two_targets):
    told = json.loads(run("estimate", "toy", "--json").stdout)
    assert told["targets"][1]["request_seconds_p90"] == 43.0


def test_a_render_says_in_seconds_within_which_time_it_is_wanted(run, platform):
    run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--finish-within", "3m", "--detach")
    assert platform.inputs[0]["finish_within_seconds"] == 180
    assert run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--finish-within", "soon").exit_code == 2
    assert len(platform.inputs) == 1


def test_why_tells_within_which_time_a_render_is_wanted_and_what_it_cost(run, platform, render):
    platform.render = render(finish_within_seconds=180, gpu_seconds=31.24, actual_cost_usd=0.0156)
    told = run("why", "rnd_1").stdout
    assert "wanted within 3 min 00 s" in told
    assert "it has held devices for 31.2 s at a cost of $0.0156, estimated at $0.0123" in told
