"""Rules of `forge probe` and `forge probes`."""

import io
import json

import pytest
from rich.console import Console

from forge_cli.probing import probes_view
from tests.unit.forge_cli.builders import make_pending_row, make_probe, make_row

FIRST = {"input": {"num_frames": 9}, "status": "succeeded", "cold_start_ms": 9_300, "model_ms": 8_000}
SECOND = {"status": "succeeded", "counts": True, "model_ms": 41_000}
QUEUED = {"status": "queued"}


@pytest.fixture
def probed(platform):
    """A probe that waits, runs and ends well, and the row it was made for."""
    platform.probes = [
        [
            make_probe(QUEUED, QUEUED, status="queued", message="no device is free"),
            make_probe(FIRST, {"status": "running"}, status="running", message="run 2 of 2: denoising", yields=2),
            make_probe(FIRST, SECOND),
        ]
    ]
    platform.rows = [make_pending_row(sample_count=1, explanation="1 run of the 3 it takes")]
    return platform


def test_a_probe_is_followed_to_its_end_and_each_change_is_a_line(run, probed):
    done = run("probe", "toy")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "prb_1  L40S eu-north1  queued: no device is free",
        "prb_1  L40S eu-north1  run 2 of 2: denoising; gave way 2 times",
        "prb_1  L40S eu-north1  succeeded",
    ]


def test_at_its_end_stand_its_runs_and_what_became_of_the_row(run, probed):
    head, *runs, row = run("probe", "toy").stdout.splitlines()
    assert head.split() == ["TARGET", "RUN", "INPUT", "STATUS", "COLD", "START", "MODEL", "TIME", "COUNTS"]
    assert [" ".join(line.split()) for line in runs] == [
        "L40S eu-north1 1 num_frames=9 succeeded 9.30 s 8.00 s no",
        "L40S eu-north1 2 the example succeeded 41.0 s yes",
    ]
    assert row == "L40S eu-north1 is pending: 1 run of the 3 it takes"


def test_a_target_is_named_in_one_word_or_two_but_not_both(run, probed):
    run("probe", "toy", "--version", "v1", "--target", "L40S@eu-north1", "--runs", "5", "--detach")
    asked = probed.asked[0]
    assert (asked.slug, asked.model_version, asked.gpu_type, asked.region, asked.runs) == (
        *("toy", "v1", "L40S", "eu-north1"),
        5,
    )
    for wrong in (["--target", "L40S"], ["--target", "@eu"], ["--target", "a@b", "--region", "b"], ["--runs", "0"]):
        assert run("probe", "toy", *wrong).exit_code == 2
    assert len(probed.asked) == 1


def test_a_detached_probe_is_only_its_id(run, probed):
    done = run("probe", "toy", "--detach")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "prb_1\n", "")
    assert json.loads(run("probe", "toy", "--detach", "--json").stdout)["probes"][0]["id"] == "prb_1"


def test_a_probe_that_fails_fails_the_command_and_says_why(run, platform):
    failed = make_probe(
        {"status": "failed", "reason": "OUT_OF_MEMORY"},
        QUEUED,
        status="failed",
        message="no memory",
        reason="OUT_OF_MEMORY",
    )
    platform.probes = [[make_probe(QUEUED, status="queued"), failed], [make_probe(SECOND, id="prb_2")]]
    done = run("probe", "toy")
    assert done.exit_code == 1
    assert "failed: OUT_OF_MEMORY" in done.stdout
    assert "prb_1 failed: no memory (reason: OUT_OF_MEMORY)" in done.stdout


def test_a_probe_is_followed_through_a_restart_of_the_platform(run, probed, packed_status):
    probed.probes[0][1:1] = [packed_status(14, "going away")] * 4
    done = run("probe", "toy")
    assert done.exit_code == 0, done.output
    assert "going away; trying again" in done.stderr
    assert "connected again" in done.stderr


def test_a_probe_that_is_gone_ends_the_watch(run, probed, packed_status):
    probed.probes[0][1:] = [packed_status(13, "internal error"), make_probe()]
    done = run("probe", "toy")
    assert done.exit_code == 1
    assert "Error: internal error" in done.stderr


def test_an_interrupted_probe_goes_on_and_the_way_back_is_told(run, probed, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("forge_cli.probing.standing", interrupted)
    done = run("probe", "toy")
    assert done.exit_code == 130
    assert "prb_1 goes on without you." in done.stderr
    assert "forge probes watch prb_1" in done.stderr
    assert "forge probes cancel prb_1" in done.stderr
    assert len(probed.asked) == 1


def test_a_row_is_shown_once_the_runs_are_counted_in_it(run, probed):
    probed.rows = [make_row(gpu_type="L40S", region="eu-north1", sample_count=0)]
    assert "L40S eu-north1 is supported: 12 of 12" in run("probe", "toy").stdout
    assert 1 < len(probed.read_rows) < 10


def test_a_probe_is_told_also_when_the_ledger_does_not_answer(run, probed, packed_status):
    probed.unmeasured = packed_status(13, "internal error")
    done = run("probe", "toy")
    assert done.exit_code == 0
    assert "41.0 s" in done.stdout


def test_probes_are_listed_by_their_plain_name(run, probed):
    listed = run("probes", "--model", "toy", "--status", "running", "--limit", "5")
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("prb_1")]
    assert " ".join(line.split()) == "prb_1 toy v1 L40S eu-north1 succeeded 2 of 2 asked"
    asked = probed.asked[0]
    assert (asked.slug, asked.status, asked.page_size) == ("toy", "running", 5)
    assert run("probes", "list").stdout == run("probes").stdout
    assert json.loads(run("probes", "--json").stdout)["probes"][0]["id"] == "prb_1"
    assert "cancel" in run("probes", "--help").stdout


def test_in_a_narrow_terminal_what_happens_is_folded_and_what_may_be_spared_is_left_out(run, platform, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    why = "waits: the slot of L40S@eu-north1 is held by an idle runtime of another model"
    platform.probes = [[make_probe(QUEUED, status="queued", message=why)]]
    shown = run("probes").stdout
    assert "no room for VERSION" in shown
    assert why in " ".join(shown.partition("\n")[2].replace("prb_1  toy    L40S eu-north1  queued  0 of 1", "").split())


def test_a_probe_is_watched_by_its_id_and_one_that_is_none_is_named(run, probed):
    done = run("probes", "watch", "prb_1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["probes"][0]["runs"][1]["model_ms"] == 41_000
    missing = run("probes", "watch", "prb_9")
    assert missing.exit_code == 1
    assert "Error: no such probe" in missing.stderr
    assert "Hint: see which there are with: forge probes" in missing.stderr


def test_a_probe_is_canceled(run, probed):
    assert run("probes", "cancel", "prb_1").stdout == "prb_1 is canceled\n"
    assert json.loads(run("probes", "cancel", "prb_1", "--json").stdout)["status"] == "canceled"


def test_on_a_terminal_each_probe_has_a_line_that_changes_and_is_gone_at_the_end():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    other = make_probe(id="prb_2", status="queued", message="[bold]waits[/]")
    with probes_view(console) as show:
        show([make_probe(FIRST, QUEUED, status="running", message="run 2 of 2: denoising"), other])
        console.print("")  # draws what changes once more
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "prb_1  L40S eu-north1  run 2 of 2: denoising" in shown
    assert "prb_2  L40S eu-north1  queued: [bold]waits[/]" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
