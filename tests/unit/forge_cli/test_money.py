"""Rules of `forge receipt`, `usage` and `prices`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from forge.billing.v1.billing_estimate_service_pb2 import Usage
from forge.billing.v1.estimate_pb2 import Calibration, Price
from forge.billing.v1.receipt_pb2 import UsageRow

from tests.unit.forge_cli.builders import make_receipt


def squeezed(shown):
    return [" ".join(line.split()) for line in shown.splitlines()]


def test_a_receipt_adds_up_line_by_line(run):
    assert squeezed(run("receipt", "rnd_1").stdout)[:6] == [
        "rnd_1 toy v1 succeeded",
        "ATTEMPT TARGET ENDED PHASE DEVICE TIME $/GPU-HOUR COST",
        "1 L40S eu-north1 lost starting 9.30 s $1.80 $0.004650",
        "denoising 1.20 s $1.80 $0.000600",
        "2 L40S eu-north1 succeeded denoising 60.0 s $1.80 $0.030000",
        "total 70.5 s $0.035250",
    ]


def test_a_receipt_says_how_far_the_estimate_was_off(run, platform):
    assert "there was no estimate" in run("receipt", "rnd_1").stdout
    platform.receipt = make_receipt(
        estimated_gpu_seconds=60, estimated_gpu_seconds_p90=80, estimated_cost_usd=0.03, estimate_error=0.175
    )
    told = "estimated at 60.0 s, in nine of ten cases at most 80.0 s, and $0.0300; it took 18 % longer"
    assert told in run("receipt", "rnd_1").stdout
    platform.receipt.estimate_error = -0.1
    assert "it took 10 % less" in run("receipt", "rnd_1").stdout


def test_a_receipt_shows_a_dash_where_no_price_was_known_and_that_more_may_come(run, platform):
    line = {"attempt": 1, "gpu_type": "L40S", "region": "r", "phase": "denoising", "gpu_seconds": 2, "outcome": "lost"}
    platform.receipt = make_receipt(is_final=False, status="queued", lines=[line], gpu_seconds=2)
    platform.receipt.ClearField("cost_usd")
    shown = squeezed(run("receipt", "rnd_1").stdout)
    assert shown[2] == "1 L40S r lost denoising 2.00 s – –"
    assert shown[3] == "total 2.00 s –"
    assert shown[-1] == "more may be added: it has not ended yet"
    assert json.loads(run("receipt", "rnd_1", "--json").stdout)["lines"][0]["phase"] == "denoising"


def test_usage_is_listed_by_day_model_and_key_with_its_total(run, platform):
    total: dict[str, Any] = {"renders": 2, "gpu_seconds": 70.5, "cost_usd": 0.03525}
    row = UsageRow(day="2030-01-31", slug="toy", model_version="v1", api_key_id="key_1", attempts=3, **total)
    platform.usage = Usage(rows=[row], **total)
    shown = squeezed(run("usage").stdout)
    assert shown[1:3] == ["2030-01-31 toy v1 key_1 2 3 70.5 s $0.035250", "total 2 3 70.5 s $0.035250"]
    assert json.loads(run("usage", "--json").stdout)["rows"][0]["attempts"] == 3


def test_usage_names_models_whole_however_narrow_the_terminal_is(run, platform, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    slug = "stabilityai-stable-video-diffusion"
    row = UsageRow(
        day="2030-01-31", slug=slug, model_version="img2vid-xt-diffusers", api_key_id="key_01m8e1", renders=1
    )
    platform.usage = Usage(rows=[row])
    narrow = run("usage").stdout
    assert slug in narrow
    assert "no room for KEY, VERSION, ATTEMPTS: add --wide" in narrow
    assert {slug, "img2vid-xt-diffusers", "key_01m8e1"} <= set(run("usage", "--wide").stdout.split())


def test_usage_is_narrowed_by_days_model_and_key(run, platform):
    run("usage", "--since", "7d", "--until", "2030-01-31", "--model", "toy", "--key", "key_1")
    asked = platform.asked[0]
    assert datetime.fromisoformat(asked.since).replace(tzinfo=UTC) <= datetime.now(UTC) - timedelta(days=7)
    assert (asked.until, asked.model, asked.api_key_id) == ("2030-01-31", "toy", "key_1")
    refused = run("usage", "--since", "monday")
    assert refused.exit_code == 2
    assert "write it as a day, such as 2030-01-31, or as days ago: 7d" in refused.stderr


def test_usage_says_how_far_estimates_were_off(run, platform):
    platform.usage = Usage(since="2030-01-01", until="2030-01-31")
    assert squeezed(run("usage").stdout) == [
        "nothing was used from 2030-01-01 to 2030-01-31",
        "no render has been compared with its estimate yet",
    ]
    platform.calibration = Calibration(
        sample_count=84, median_absolute_error=0.06, median_error=-0.021, share_within_p90=0.91
    )
    assert (
        "estimates of the last 84 renders were off by 6 % in the median: renders took 2 % less; 91 % stayed within what"
        " nine of ten should"
    ) in run("usage").stdout


def test_prices_are_listed_with_how_long_they_hold(run, platform):
    price = Price(gpu_type="L40S", region="eu-north1", cost_per_gpu_hour_usd=1.8, source="the provider's list")
    price.valid_until.seconds = 2_000_000_000
    platform.prices = [price]
    line = squeezed(run("prices", "--all").stdout)[1]
    assert line.startswith("L40S eu-north1 $1.80 – 2033-05-1")
    assert line.endswith("the provider's list")
    assert platform.asked[0].all
    assert json.loads(run("prices", "--json").stdout)["prices"][0]["cost_per_gpu_hour_usd"] == 1.8
    assert not platform.asked[1].all
