"""Rules of `forge targets`, and of what `forge models` and `forge model` say of the ledger."""

import json

import pytest
from google.rpc import error_details_pb2

from tests.unit.forge_cli.builders import make_pending_row, make_row

PUBLISHED = {"model_ms": 66_100, "cold_start_ms": 80_000, "vram_gb": 23.1, "source": "somebody's page"}


@pytest.fixture
def ledger(platform):
    """A ledger with a row of every kind."""
    slower = {"is_baseline": False, "relative_speed": 0.64, "estimated_warm_request_cost_usd": 0.03}
    simulated = {"simulated": True, "source": "simulated", "status": "pending", "explanation": "only an imitation"}
    platform.rows = [
        make_row(),
        make_row(gpu_type="RTX6000", region="us-central1", request_ms_p50=64_400, **slower),
        make_pending_row(gpu_type="B200", source="published", request_ms=66_100, published=PUBLISHED),
        make_row(gpu_type="H100", region="eu-north1", is_baseline=False, **simulated),
        make_pending_row(),
    ]
    return platform


def lines_of(shown, start):
    """The line that starts so and the one below it."""
    lines = shown.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(start))
    return lines[place : place + 2]


def test_a_row_shows_what_was_measured_over_its_bounds(run, ledger):
    first, second = lines_of(run("targets", "toy").stdout, "H200 eu-north2")
    for fact in ("supported", "12", "73.1 s", "41.2 s", "100 %", "12.4 GiB", "$4.50", "$0.0515", "$0.0103", "3 h"):
        assert fact in first
    assert first.rstrip().endswith("measured")
    assert "40.1–43.0 s" in second
    assert "76–100 %" in second


def test_the_fastest_and_the_cheapest_of_those_that_are_verified_are_marked(run, ledger):
    shown = run("targets", "toy").stdout
    assert "fastest" in lines_of(shown, "H200")[1]
    slower = lines_of(shown, "RTX6000 us-central1")
    assert "-36 %" in slower[0]
    assert "cheapest" in slower[1]


def test_a_row_that_is_not_verified_says_why(run, ledger):
    shown = run("targets", "toy").stdout
    assert "2 of 5 verified, 3 pending; 100 % is H200 eu-north2" in shown
    assert "L40S eu-north1 are pending: awaiting a probe" in shown
    assert "H100 eu-north1 is pending: only an imitation" in shown
    assert "H200 eu-north2 is" not in shown.partition("verified")[2].partition("\n")[2]


def test_rows_that_are_not_verified_for_the_same_reason_share_a_line(run, platform):
    platform.rows = [make_pending_row(region=region, explanation="awaiting a probe") for region in ("a", "b", "c")]
    assert "L40S a, L40S b, L40S c are pending: awaiting a probe" in run("targets", "toy").stdout


def test_figures_of_others_are_marked_as_theirs(run, ledger):
    shown = run("targets", "toy").stdout
    first, second = lines_of(shown, "B200")
    assert "66.1 s" in first
    assert "23.1 GB" in first
    assert second.split() == ["published"] * 3
    assert "published by somebody's page, not measured here: B200 eu-north1" in shown


def test_what_nobody_measured_is_a_dash_and_a_column_of_dashes_is_left_out(run, platform):
    platform.rows = [make_pending_row()]
    shown = run("targets", "toy").stdout
    assert lines_of(shown, "L40S")[0].split() == ["L40S", "eu-north1", "pending", "0", "–", "$1.80", "–", "–"]
    assert "COLD START" not in shown
    assert "0 of 1 verified, 1 pending\n" in shown


def test_a_table_fits_into_120_columns_and_names_what_it_left_out(run, ledger, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    ledger.rows[0].request_ms_p95 = 45_000
    shown = run("targets", "toy").stdout
    assert max(map(len, shown.splitlines())) <= 120
    assert "no room for $/OUTPUT S, $/GPU-HOUR, P95, P99: add --wide" in shown
    wide = run("targets", "toy", "--wide").stdout
    assert "no room" not in wide
    assert "45.0 s" in wide
    assert "$0.0103" in wide


def test_a_baseline_is_asked_for_and_one_that_does_not_exist_is_named(run, platform, packed_status):
    assert run("targets", "toy", "--version", "v1", "--baseline", "L40S@eu-north1").exit_code == 0
    asked = platform.read_rows[0]
    assert (asked.slug, asked.model_version, asked.baseline) == ("toy", "v1", "L40S@eu-north1")
    info = error_details_pb2.ErrorInfo(reason="UNKNOWN_TARGET", domain="forge", metadata={"known": "H200@eu-north2"})
    platform.unmeasured = packed_status(3, "there is no row B2000@x", info)
    refused = run("targets", "toy", "--baseline", "B2000@x")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[:2] == ["Error: there is no row B2000@x", "  known: H200@eu-north2"]


def test_a_table_without_rows_says_so_and_json_is_the_whole_answer(run, platform):
    assert json.loads(run("targets", "toy", "--json").stdout)["targets"][0]["request_ms_p50"] == 41_200
    platform.rows = []
    assert "no target is offered, measured or published" in run("targets", "toy").stdout


def test_models_say_how_many_targets_are_verified_and_how_warm_they_are(run, ledger):
    (toy,) = [line for line in run("models").stdout.splitlines() if line.startswith("toy")]
    assert "2 of 5" in toy
    assert "1 warm" in toy


def test_models_are_listed_also_while_the_ledger_does_not_answer(run, platform, packed_status):
    platform.unmeasured = packed_status(14, "the ledger is away")
    listed = run("models")
    assert listed.exit_code == 0
    (toy,) = [line for line in listed.stdout.splitlines() if line.startswith("toy")]
    assert "– 1 warm" in " ".join(toy.split())


def test_a_list_for_machines_asks_for_nothing_else(run, platform):
    run("models", "--json")
    assert platform.read_rows == []


def test_a_model_shows_how_well_it_runs(run, ledger):
    shown = run("model", "toy").stdout
    assert "Targets of v1\nsupported" in shown
    assert "40.1–43.0 s" in shown
    assert "2 of 5 verified" in shown


def test_a_model_is_shown_also_when_what_was_measured_is_not_known(run, platform, packed_status):
    platform.unmeasured = packed_status(13, "internal error")
    shown = run("model", "toy")
    assert shown.exit_code == 0
    assert "num_frames is 4k+1" in shown.stdout
    assert "what was measured cannot be told now" in shown.stdout
