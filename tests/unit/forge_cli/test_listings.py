"""Rules of the commands that show what there is."""

import json

from forge.scheduler.v1.runtime_service_pb2 import FamilyStatus


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
    (prompt,) = [line for line in shown.splitlines() if line.startswith("prompt ")]
    assert "A branch may change it." in prompt
    assert shown.count("A branch may change it.") == 1
    assert "A" * 100 not in shown


def test_an_estimate_shows_a_dash_for_what_is_not_known(run):
    shown = run("estimate", "toy").stdout
    assert "61.0–79.4 s" in shown
    assert "–" in shown


def test_runtimes_show_when_they_free_their_slot(run):
    shown = run("runtimes").stdout
    assert "2 min 05 s" in shown
    assert "warm" in shown
    assert run("runtimes", "--version", "v1").exit_code == 1


def test_runtimes_show_what_keeping_them_warm_costs(run, platform, runtime):
    assert "–" in run("runtimes").stdout
    platform.runtime = runtime(keep_warm=True, cost_per_gpu_hour_usd=4.5, cost_so_far_usd=0.0375)
    shown = run("runtimes").stdout
    assert "kept warm" in shown
    assert "$4.50" in shown
    assert "$0.0375" in shown


def test_a_start_shows_what_it_does_and_how_much_is_loaded(run, platform, runtime):
    platform.runtime = runtime(
        status="starting",
        start_phase="loading_weights",
        start_message="loading weights",
        start_done_bytes=3.1e9,
        start_total_bytes=12.4e9,
    )
    assert "starting: loading weights, 3.1 GB of 12.4 GB" in run("runtimes").stdout
    platform.runtime = runtime(status="starting", start_phase="importing")
    assert "starting: importing" in run("runtimes").stdout
    platform.runtime = runtime(status="starting")
    assert "starting" in run("runtimes").stdout


def test_who_waits_for_a_start_hears_of_each_of_its_phases_once(run, platform, runtime):
    def family(**given):
        found = runtime(status="starting", **given)
        return FamilyStatus(slug="toy", version="v1", status="starting", runtimes=[found])

    platform.families = [
        FamilyStatus(slug="toy", version="v1", status="cold"),
        family(start_phase="process", start_message="starting a process"),
        family(start_phase="weights", start_message="loading weights", start_done_bytes=0, start_total_bytes=2e9),
        family(start_phase="weights", start_message="loading weights", start_done_bytes=1e9, start_total_bytes=2e9),
    ]
    started = run("start", "toy")
    assert started.exit_code == 0, started.output
    assert started.stderr.splitlines() == [
        "starting toy: starting a process",
        "starting toy: loading weights, 0 B of 2.0 GB",
    ]


def test_how_long_a_runtime_stays_warm_is_given_as_a_duration(run, platform):
    run("start", "toy", "--idle-release", "10m")
    assert platform.asked[0].idle_release_seconds == 600
    run("start", "toy")
    assert not platform.asked[1].HasField("idle_release_seconds")
    assert run("start", "toy", "--idle-release", "10").exit_code == 2
    assert run("start", "toy", "--idle-release", "10m", "--keep").exit_code == 2
    assert len(platform.asked) == 2


def test_a_start_that_broke_off_is_asked_for_again(run, platform):
    platform.outages = 3
    assert run("start", "toy").exit_code == 0


def test_start_and_stop_say_what_happened(run, platform):
    started = run("start", "toy", "--keep", "--gpu-type", "L40S")
    assert "toy v1 on L40S eu-north1 started in 8.40 s" in started.stdout
    assert platform.asked[0].run_until_stopped
    assert run("stop", "toy").stdout == "toy v1: 1 runtime stopped\n"
    assert json.loads(run("stop", "toy", "--json").stdout)["stopped_runtimes"] == 1


def test_capacity_tells_of_slots_whose_machines_are_not_there(run, platform, capacity):
    platform.capacity = [capacity(absent_slots=1)]
    assert "1 of 2, 1 absent" in run("capacity").stdout


def test_capacity_counts_slots(run):
    assert "1 of 2" in run("capacity").stdout


def test_capacity_shows_what_waits_and_what_a_target_is_spared_from(run, platform, capacity):
    spared = {"slug": "toy", "version": "v1", "message": "two renders lost three workers each"}
    platform.capacity = [capacity(queued_renders=3, queued_gpu_seconds=724.0, open_circuits=[spared])]
    shown = run("capacity").stdout
    assert "12 min 04 s" in shown
    assert "L40S eu-north1 gets no work of toy v1 until" in shown
    assert "two renders lost three workers each" in shown


def test_webhooks_are_made_with_a_secret_that_is_alone_on_stdout(run, platform):
    made = run("webhooks", "create", "https://hooks.test/x", "--status", "failed", "--status", "paused", "--model", "m")
    assert made.stdout == "whsec_secret\n"
    assert "wh_1 is told of: failed" in made.stderr
    asked = platform.asked[0]
    assert (asked.url, list(asked.statuses), asked.model) == ("https://hooks.test/x", ["failed", "paused"], "m")
    assert json.loads(run("webhooks", "create", "https://hooks.test/x", "--json").stdout)["secret"] == "whsec_secret"


def test_a_webhook_is_never_made_twice_because_the_platform_was_slow(run, platform):
    platform.outages = 1
    assert run("webhooks", "create", "https://hooks.test/x").exit_code == 1
    assert platform.asked == []


def test_webhooks_are_listed_and_deleted(run, platform):
    assert "https://hooks.test/x" in run("webhooks", "list").stdout
    assert "secret" not in run("webhooks", "list", "--json").stdout
    assert run("webhooks", "delete", "wh_1").stdout == "wh_1 is gone\n"
    assert platform.asked[0].webhook_id == "wh_1"


def test_deliveries_tell_what_became_of_them_and_can_be_replayed(run, platform):
    shown = run("webhooks", "deliveries", "--state", "dead", "--webhook", "wh_1", "--limit", "5").stdout
    assert "rnd_1 failed" in shown
    assert "dead" in shown
    assert "HTTP 500" in shown
    asked = platform.asked[0]
    assert (asked.state, asked.webhook_id, asked.page_size) == ("dead", "wh_1", 5)
    assert json.loads(run("webhooks", "deliveries", "--json").stdout)["deliveries"][0]["tries"] == 8
    assert run("webhooks", "replay", "dlv_1").stdout == "dlv_1 is waiting\n"


def test_a_model_says_how_long_an_attempt_may_take(run):
    assert "an attempt takes 1 h 30 min at most" in run("model", "toy").stdout


def test_a_new_key_is_the_only_thing_on_stdout(run):
    made = run("keys", "create", "laptop", "--scope", "read", "--ttl", "30d")
    assert made.stdout == "fk_abc_secret\n"
    assert "key_2 (read)" in made.stderr
    assert json.loads(run("keys", "create", "laptop", "--ttl", "30d", "--json").stdout)["api_key"]["expires_at"]
    assert run("keys", "create", "laptop", "--ttl", "soon").exit_code == 2


def test_keys_are_listed_without_their_secret_and_revoked(run):
    listed = run("keys", "list").stdout
    assert "fk_abc…" in listed
    assert run("keys", "revoke", "key_1").stdout == "key_1 (laptop) is revoked\n"
