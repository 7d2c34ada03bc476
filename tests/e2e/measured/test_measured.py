"""From a fresh installation, which has measured nothing, to verified targets, estimates, receipts and usage."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.platforms import SKYREELS, Platform, eventually

pytestmark = pytest.mark.only_full_size

MODELS = f"/v1/models/{SKYREELS}"


def answer(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def own_row(rest: httpx.Client) -> Any:
    """The row of the one target that is offered here."""
    (row,) = [row for row in answer(rest.get(f"{MODELS}/targets"))["targets"] if row["offered"]]
    return row


def statuses(reliability: Any) -> dict[str, int]:
    return {status: count for status, count in reliability["status_counts"].items() if count}


def rendered(platform: Platform, rest: httpx.Client, **changes: Any) -> Any:
    return answer(rest.post(f"/v1/inference/{SKYREELS}", json=platform.example(SKYREELS, **changes)))


def receipt_of(rest: httpx.Client, render_id: str) -> Any:
    """The receipt, once its final form has arrived."""

    def final() -> Any:
        response = rest.get(f"/v1/renders/{render_id}/receipt")
        return response.json() if response.status_code == 200 and response.json()["is_final"] else None

    return eventually(final, what="the receipt")


def test_a_fresh_installation_has_verified_nothing(rest):
    reliability = answer(rest.get(f"{MODELS}/reliability"))
    assert reliability["reliability_status"] == "pending"
    assert reliability["supported_rows"] == 0
    assert statuses(reliability) == {"pending": reliability["total_rows"]}
    assert "fastest_supported_target" not in reliability
    row = own_row(rest)
    assert (row["status"], row["sample_count"], row["explanation"] != "") == ("pending", 0, True)
    published = [row for row in reliability["targets"] if "published" in row and row["published"].get("model_ms")]
    assert published
    assert {row["source"] for row in published} == {"published"}


def test_a_probe_verifies_the_target(platform, rest):
    done = platform.forge("probe", SKYREELS)
    row = own_row(rest)
    assert row["status"] == "supported", done.stdout
    assert f"{row['gpu_type']} {row['region']} is supported" in done.stdout
    assert row["sample_count"] == 3
    assert row["request_ms_p50"] > 0
    assert row["cold_start_ms"] > 0
    assert row["success_rate_low"] < row["observed_success_rate"] == 1.0
    assert row["peak_allocated_gib"] > 0.1
    assert "weights" in row["software"]
    assert row["source"] == "measured"
    table = platform.forge("targets", SKYREELS).stdout
    assert "supported" in table
    assert "1 of 7 verified" in table


def test_a_client_that_reads_the_fields_of_the_pages_works_unchanged(rest):
    payload = answer(rest.get(f"{MODELS}/reliability", params={"model_version": "df-1-3b-540p-diffusers"}))
    assert (payload["slug"], payload["reliability_status"]) == (SKYREELS, "supported")
    assert (payload["supported_rows"], payload["total_rows"]) == (1, 7)
    assert payload["filters"] == {"model_version": "df-1-3b-540p-diffusers"}
    assert statuses(payload) == {"supported": 1, "pending": 6}
    assert payload.get("failure_reason_counts", {}) == {}
    for name in ("fastest_supported_target", "lowest_cost_supported_target"):
        target = payload[name]
        assert (target["gpu_type"], target["region"]) == ("CPU", "local")
        assert target["request_ms_p50"] > 0
        assert target["request_ms"] > 0
        assert target["estimated_warm_request_cost_usd"] > 0
        assert target["cost_per_gpu_hour_usd"] > 0
        assert 0 <= target["observed_success_rate"] <= 1
    body = {"version": "df-1-3b-540p-diffusers", "gpu_type": "CPU", "region": "local", "run_until_stopped": False}
    started = answer(rest.post(f"/v1/model-families/{SKYREELS}/start", json=body))
    assert (started["slug"], started["gpu_type"], started["region"]) == (SKYREELS, "CPU", "local")
    assert started["startup_ms"] > 0
    assert isinstance(started["was_cold_start"], bool)
    assert started["keep_warm"] is False


def test_the_estimate_of_an_input_rests_on_what_was_measured_and_follows_its_work(platform, rest):
    def estimate(**changes: Any) -> Any:
        body = platform.example(SKYREELS, **changes)
        return answer(rest.post(f"{MODELS}/run-estimate", json=body))["selected_target"]

    once, twice = estimate(), estimate(num_inference_steps=16)
    assert once["basis"] == twice["basis"] == "measured"
    assert once["sample_count"] >= 3
    assert 0 < once["request_seconds_p50"] <= once["request_seconds_p90"]
    # Of steps this small a good part is no work of theirs, and more of it on a busy machine.
    assert 1.1 < twice["phase_seconds"]["denoising"] / once["phase_seconds"]["denoising"] < 2.5
    assert twice["estimated_warm_request_cost_usd"] > once["estimated_warm_request_cost_usd"]
    assert once["estimated_first_cold_request_cost_usd"] > once["estimated_warm_request_cost_usd"]
    assert once["idle_tail_cost_usd"] == pytest.approx(900 * once["cost_per_gpu_hour_usd"] / 3600, abs=1e-6)
    assert once["peak_allocated_gib"] > 0.1
    far = estimate(width=960, height=544, num_frames=97, base_num_frames=97)
    assert far["extrapolation"] > 10
    assert (
        far["request_seconds_p90"] / far["request_seconds_p50"]
        > once["request_seconds_p90"] / once["request_seconds_p50"]
    )
    assert any("times" in caveat for caveat in far["caveats"])


def test_an_estimate_says_all_that_is_wrong_with_an_input_as_a_render_would(platform, rest):
    body = platform.example(SKYREELS, num_frames=18, stepz=3)
    estimated, rendered = rest.post(f"{MODELS}/run-estimate", json=body), rest.post("/v1/renders", json=body)
    assert estimated.status_code == rendered.status_code == 400
    assert estimated.json()["details"][1] == rendered.json()["details"][1]


def test_receipts_add_up_to_the_usage_to_the_last_microdollar(platform, rest):
    before = answer(rest.get("/v1/usage"))
    renders = [rendered(platform, rest, seed=seed) for seed in (1, 2)]
    canceled = answer(rest.post("/v1/renders", json=platform.example(SKYREELS, num_inference_steps=100)))
    eventually(
        lambda: answer(rest.get(f"/v1/renders/{canceled['id']}"))["progress"]["done_steps"] > 1, what="its second step"
    )
    answer(rest.post(f"/v1/renders/{canceled['id']}/cancel"))
    receipts = [receipt_of(rest, render["id"]) for render in (*renders, canceled)]
    for receipt in receipts:
        lines = [round(line["cost_usd"] * 1e6) for line in receipt["lines"]]
        assert sum(lines) == round(receipt["cost_usd"] * 1e6) > 0
        seconds = sum(line["gpu_seconds"] for line in receipt["lines"])
        assert seconds == pytest.approx(receipt["gpu_seconds"])
    assert receipts[-1]["status"] == "canceled"
    assert "estimate_error" in receipts[0]
    shown = answer(rest.get(f"/v1/renders/{renders[0]['id']}"))
    assert round(shown["actual_cost_usd"] * 1e6) == round(receipts[0]["cost_usd"] * 1e6)
    after = answer(rest.get("/v1/usage"))
    used = round(after["cost_usd"] * 1e6) - round(before.get("cost_usd", 0.0) * 1e6)
    assert used == sum(round(receipt["cost_usd"] * 1e6) for receipt in receipts)
    assert sum(round(row["cost_usd"] * 1e6) for row in after["rows"]) == round(after["cost_usd"] * 1e6)
    key_ids = {row["api_key_id"] for row in after["rows"]}
    assert key_ids == {answer(rest.get("/v1/account"))["api_key_id"]}
    told = platform.forge("usage").stdout
    assert SKYREELS in told
    told = platform.forge("receipt", renders[0]["id"]).stdout
    assert "denoising" in told
    overall = answer(rest.get("/v1/estimate-calibration"))["overall"]
    assert overall["sample_count"] >= 2


def test_a_receipt_is_for_its_own_account_only(rest, platform):
    response = rest.get("/v1/renders/rnd_of_somebody_else/receipt")
    assert response.status_code == 404
    assert response.json()["details"][0]["reason"] == "RENDER_NOT_FOUND"


def test_a_probe_gives_way_to_a_render_and_still_comes_to_its_end(platform, rest):
    (probe,) = answer(rest.post("/v1/probes", json={"slug": SKYREELS, "runs": 1}))["probes"]

    def now() -> Any:
        return answer(rest.get(f"/v1/probes/{probe['id']}"))

    eventually(lambda: any(run["status"] == "running" for run in now()["runs"]), seconds=60, what="a run of the probe")
    render = rendered(platform, rest, seed=3)
    assert render["status"] == "succeeded"
    ended = eventually(
        lambda: now() if now()["status"] in ("succeeded", "failed") else None, seconds=120, what="its end"
    )
    assert ended["status"] == "succeeded", ended["message"]
    row = own_row(rest)
    assert row["status"] == "supported"
    renders = answer(rest.get("/v1/renders"))["renders"]
    assert {found["id"] for found in renders} >= {render["id"]}
    assert len([found for found in renders if found["model_version"] != render["model_version"]]) == 0


def test_a_new_price_changes_no_receipt_and_is_that_of_later_renders(platform, rest):
    render = rendered(platform, rest, seed=4)
    before = receipt_of(rest, render["id"])
    prices = Path(platform.environment["FORGE_CONFIG_DIR"]) / "prices.yaml"
    content = yaml.safe_load(prices.read_text())
    (own,) = [row for table in content["prices"] for row in table["rows"] if row["gpu_type"] == "CPU"]
    old, own["cost_per_gpu_hour_usd"] = own["cost_per_gpu_hour_usd"], 1000.0
    prices.write_text(yaml.safe_dump(content))
    platform.stop()
    platform.start()
    with platform.client() as again:
        assert receipt_of(again, render["id"]) == before
        later = receipt_of(again, rendered(platform, again, seed=5)["id"])
    assert {line["cost_per_gpu_hour_usd"] for line in before["lines"]} == {old}
    assert {line["cost_per_gpu_hour_usd"] for line in later["lines"]} == {1000.0}
