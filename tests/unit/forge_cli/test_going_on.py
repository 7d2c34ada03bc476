"""Rules of `forge retry`, `continue` and `branch`, of renders that pause, and of `forge why`."""

import json
import threading
from pathlib import Path

import pytest
from google.protobuf import json_format

PREVIEW = b"not really a picture"


@pytest.fixture
def paused(platform, story, render, event):
    """The platform's render pauses after step 8; its stream stays open."""
    pause = event(
        12, "denoising", status="paused", done_steps=8, total_steps=25, preview_url="/v1/renders/rnd_1/preview"
    )
    platform.story = [*story[:11], pause, *story[12:]]
    platform.told_after = {13: threading.Event()}
    platform.render = render(
        status="paused",
        progress={"done_steps": 8, "total_steps": 25},
        preview_url="/v1/renders/rnd_1/preview",
        last_seq=12,
    )
    platform.render.expires_at.seconds = 2_000_000_000
    yield platform
    for told in platform.told_after.values():
        told.set()


def test_a_pause_ends_the_watch_with_how_to_go_on_and_a_status_of_its_own(run, paused):
    done = run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--pause-after-step", "8", "-o", "out/v.mp4")
    assert done.exit_code == 3, done.output
    assert paused.inputs[0]["pause_after_step"] == 8
    assert "rnd_1 is paused after step 8 of 25 and waits for you until 20" in done.stderr
    for command in ("forge continue rnd_1", "forge branch rnd_1 -p prompt=", "forge cancel rnd_1"):
        assert command in done.stderr
    assert done.stdout == "out/v.preview.webp\n"
    assert Path("out/v.preview.webp").read_bytes() == PREVIEW
    assert not Path("out/v.mp4").exists()


def test_a_pause_without_a_preview_or_a_place_for_it_is_told_all_the_same(run, paused):
    done = run("watch", "rnd_1")
    assert (done.exit_code, done.stdout) == (3, "")
    paused.render.preview_url = ""
    done = run("watch", "rnd_1", "-o", "v.mp4")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "is paused after step 8" in done.stderr


def test_a_pause_that_is_over_does_not_end_a_watch(run, paused, render):
    paused.render = render()
    paused.told_after = {}
    done = run("watch", "rnd_1")
    assert done.exit_code == 0, done.output
    assert "paused  after step 8 of 25" in done.stderr
    assert "done  100%" in done.stderr
    assert "toy succeeded" in done.stderr


def test_a_paused_render_goes_on_and_only_what_is_new_is_shown(run, paused, render):
    paused.told_after = {}
    done = run("continue", "rnd_1", "--pause-after-step", "20", "--detach")
    assert (done.exit_code, done.stdout) == (0, "rnd_1\n")
    assert paused.asked[0].render_id == "rnd_1"
    assert paused.asked[0].pause_after_step == 20
    paused.render = render(last_seq=12)
    done = run("continue", "rnd_1", "-o", "v.mp4")
    assert done.exit_code == 0, done.output
    assert paused.asked[1].pause_after_step == 0
    assert paused.watched_from == [11]
    assert "place 2 in the queue" not in done.stderr
    assert Path("v.mp4").exists()


def test_a_render_that_is_tried_again_is_watched_and_fetched_under_its_new_name(run, platform):
    done = run("retry", "rnd_1")
    assert done.exit_code == 0, done.output
    assert platform.asked[0].render_id == "rnd_1"
    assert done.stdout == "rnd_2.mp4\n"
    assert Path("rnd_2.mp4").exists()
    assert run("retry", "rnd_1", "--detach").stdout == "rnd_2\n"


def test_a_branch_sends_only_what_changes_with_the_types_of_the_schema(run, platform):
    done = run("branch", "rnd_1", "-p", "prompt=a dog", "-p", "num_frames=9", "--priority", "high", "--stream", "v.mp4")
    assert done.exit_code == 0, done.output
    request = platform.asked[0]
    assert request.render_id == "rnd_1"
    changes = json_format.MessageToDict(request.input)
    assert changes.pop("request_id")
    assert changes == {"prompt": "a dog", "num_frames": 9, "priority": "high"}
    assert Path("v.mp4").exists()


def test_an_input_that_the_version_does_not_have_is_named_before_a_branch_is_made(run, platform):
    done = run("branch", "rnd_1", "-p", "promt=a dog")
    assert done.exit_code == 1
    assert "did you mean prompt?" in done.stderr
    assert platform.asked == []


def test_wishes_go_into_the_body_under_the_names_of_the_contract(run, platform):
    wishes = ["--priority", "low", "--prefer", "fastest", "--max-cost", "0.25", "--idempotency-key", "mine"]
    done = run(
        "render",
        "toy",
        "-p",
        "prompt=x",
        "-p",
        "image=x",
        *wishes,
        "--deadline",
        "2030-01-31T19:00:00+01:00",
        "--detach",
    )
    assert done.exit_code == 0, done.output
    told = {name: platform.inputs[0][name] for name in ("priority", "prefer", "max_cost_usd", "request_id", "deadline")}
    assert told == {
        "priority": "low",
        "prefer": "fastest",
        "max_cost_usd": 0.25,
        "request_id": "mine",
        "deadline": "2030-01-31T18:00:00Z",
    }


def test_a_deadline_given_as_a_duration_is_sent_as_a_time(run, platform):
    run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--deadline", "10m", "--detach")
    assert platform.inputs[0]["deadline"].endswith("Z")


def test_without_wishes_none_are_sent_and_every_call_has_a_key_of_its_own(run, platform):
    for _ in range(2):
        run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--detach")
    first, second = platform.inputs
    assert not {"priority", "prefer", "max_cost_usd", "deadline", "pause_after_step"} & set(first)
    assert first["request_id"] != second["request_id"]


@pytest.mark.parametrize(
    "wish",
    [
        ["--priority", "urgent"],
        ["--prefer", "nicest"],
        ["--max-cost", "0"],
        ["--max-cost", "nan"],
        ["--max-cost", "inf"],
        ["--deadline", "soon"],
        ["--deadline", "2030-01-31"],
        ["--pause-after-step", "0"],
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_sent(run, platform, wish):
    assert run("render", "toy", "-p", "prompt=x", "-p", "image=x", *wish).exit_code == 2
    assert platform.inputs == []


def test_a_failed_render_says_how_to_try_it_again(run, platform, render, story, event):
    platform.story = [*story[:5], event(6, "denoising", status="failed")]
    platform.render = render(status="failed", error={"reason": "WORKER_LOST", "message": "three workers were lost"})
    assert "forge retry rnd_1" in run("watch", "rnd_1").stderr


def test_who_waits_hears_once_why(run, platform, render, story, event):
    platform.story = [story[0], event(2, "queued", status="queued", queue_position=1), *story[2:]]
    platform.render = render(status="queued", explanation="both slots of H200 eu-north2 are busy")
    told = run("watch", "rnd_1").stderr
    assert told.count("both slots of H200 eu-north2 are busy") == 1
    assert told.index("both slots") < told.index("place 2 in the queue")


def test_nobody_is_told_why_a_render_waits_that_waited_once(run, platform, render):
    platform.render = render(status="running", explanation="H200 eu-north2 is the cheapest")
    assert "H200 eu-north2 is the cheapest" not in run("watch", "rnd_1").stderr


def test_a_watcher_hears_after_which_step_a_later_attempt_resumed(run, platform, render, event):
    platform.story = [
        event(1, "denoising", attempt=1, done_steps=9, total_steps=25),
        event(2, "queued", status="queued", attempt=1),
        event(3, "encoding", attempt=2),
        event(4, "denoising", attempt=2, done_steps=9, total_steps=25),
        event(5, "done", attempt=2, status="succeeded"),
    ]
    platform.render = render(attempts=[{"attempt": 1}, {"attempt": 2, "resumed_steps": 8}])
    told = run("watch", "rnd_1").stderr
    assert "denoising  step 9 of 25  0%  attempt 2, resumed after step 8" in told


def test_why_tells_what_it_waits_for_what_was_asked_and_what_was_tried(run, platform, render):
    platform.render = render(
        status="queued",
        explanation="both slots of H200 eu-north2 are busy",
        progress={"queue_position": 3, "eta_seconds_p50": 40, "eta_seconds_p90": 125},
        priority="high",
        prefer="fastest",
        max_cost_usd=0.25,
        pause_after_step=8,
        retry_of="rnd_0",
        gpu_seconds=31.24,
        attempts=[
            {
                "attempt": 1,
                "target": {"gpu_type": "H200", "region": "eu-north2"},
                "gpu_seconds": 31.24,
                "outcome": "lost",
                "message": "its worker went away",
                "resumed_steps": 4,
            }
        ],
    )
    platform.render.deadline.seconds = 2_000_000_000
    told = run("why", "rnd_1").stdout
    assert "queued, place 3, done in 40.0 s to 2 min 05 s" in told
    assert "both slots of H200 eu-north2 are busy" in told
    assert (
        "asked for: high priority, fastest target preferred, at most $0.2500, pauses after step 8, tries rnd_0 again"
        in told
    )
    assert "stopped at 2033-" in told
    assert "it has held devices for 31.2 s, estimated at $0.0123" in told
    (tried,) = [line for line in told.splitlines() if "its worker went away" in line]
    assert tried.split()[:3] == ["1", "H200", "eu-north2"]
    assert "step 4" in tried
    assert "lost" in tried


def test_why_of_a_failed_render_is_its_failure_and_all_of_it_comes_as_json(run, platform, render):
    platform.render = render(status="failed", error={"reason": "OUT_OF_MEMORY", "message": "the device is full"})
    assert "the device is full (reason: OUT_OF_MEMORY)" in run("why", "rnd_1").stdout
    assert json.loads(run("why", "rnd_1", "--json").stdout)["error"]["reason"] == "OUT_OF_MEMORY"


def test_a_watch_survives_a_restart_of_the_platform(run, platform):
    told, went_down = threading.Event(), threading.Event()
    platform.after_telling = {10: told}
    platform.told_after = {11: went_down}

    def restart():
        assert told.wait(30)
        platform.restart()
        went_down.set()

    restarting = threading.Thread(target=restart)
    restarting.start()
    done = run("watch", "rnd_1", "-o", "v.mp4")
    restarting.join()
    assert done.exit_code == 0, done.output
    assert platform.watched_from == [0, 10]
    assert Path("v.mp4").exists()
