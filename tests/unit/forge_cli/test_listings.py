"""Rules of the commands that show what there is."""

import json


def test_models_are_listed_and_markup_of_the_server_is_only_text(run):
    listed = run("models")
    assert "text, image → video" in listed.stdout
    assert "A toy [bold]" in listed.stdout
    assert json.loads(run("models", "--json").stdout)["models"][0]["slug"] == "toy"
    assert run("models", "--query", "none").stdout == "no model matches\n"


def test_a_model_shows_its_inputs_its_rules_and_a_short_example(run):
    shown = run("model", "toy").stdout
    assert "num_frames" in shown
    assert "≥ 1 ≤ 25 frames" in shown
    assert "num_frames is 4k+1" in shown
    assert "A" * 100 not in shown


def test_an_estimate_shows_a_dash_for_what_is_not_known(run):
    shown = run("estimate", "toy").stdout
    assert "61.0 s" in shown
    assert "–" in shown


def test_runtimes_show_when_they_free_their_slot(run):
    shown = run("runtimes").stdout
    assert "2 min 05 s" in shown
    assert "warm" in shown
    assert run("runtimes", "--version", "v1").exit_code == 1


def test_start_and_stop_say_what_happened(run, platform):
    started = run("start", "toy", "--keep", "--gpu-type", "L40S")
    assert "toy v1 on L40S eu-north1 started in 8.40 s" in started.stdout
    assert platform.started[0].run_until_stopped
    assert run("stop", "toy").stdout == "toy v1: 1 runtime stopped\n"


def test_capacity_counts_slots(run):
    assert "1 of 2" in run("capacity").stdout


def test_a_new_key_is_the_only_thing_on_stdout(run):
    made = run("keys", "create", "laptop", "--scope", "read", "--ttl", "30d")
    assert made.stdout == "fk_abc_secret\n"
    assert "key_2 (read)" in made.stderr
    assert run("keys", "create", "laptop", "--ttl", "soon").exit_code == 2


def test_keys_are_listed_without_their_secret_and_revoked(run):
    listed = run("keys", "list").stdout
    assert "fk_abc…" in listed
    assert run("keys", "revoke", "key_1").stdout == "key_1 (laptop) is revoked\n"
