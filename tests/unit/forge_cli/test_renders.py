"""Rules of `forge render`, `watch`, `cancel` and `renders`, against a platform that answers from memory."""

import json
from pathlib import Path

from google.rpc import error_details_pb2

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def test_a_render_ends_as_a_video_on_disk(run, platform, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(PNG)
    done = run("render", "toy", "-p", "prompt=a cat", "-p", "num_frames=9", "--image", "cat.jpg", "-o", "out/a.mp4")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "a.mp4").read_bytes() == b"not really a video" * 1000
    assert not list(tmp_path.rglob("*.part"))
    assert done.stdout.strip() == "out/a.mp4"
    body = platform.inputs[0]
    assert body["num_frames"] == 9
    assert body["model"] == "toy"
    assert body["image"].startswith("data:image/png;base64,")
    assert body["request_id"]
    assert "gpu_type" not in body


def test_pins_go_into_the_body_and_a_detached_render_only_prints_its_id(run, platform):
    done = run(
        "render", "toy", "-p", "prompt=x", "-p", "image=data:", "--gpu-type", "H200", "--region", "r", "--detach"
    )
    assert (done.exit_code, done.stdout) == (0, "rnd_1\n")
    assert platform.inputs[0]["gpu_type"] == "H200"
    assert platform.watched_from == []


def test_without_a_terminal_progress_is_lines_and_warnings_are_shown(run):
    done = run("watch", "rnd_1")
    assert done.exit_code == 0
    assert "place 2 in the queue" in done.stderr
    assert "loading weights" in done.stderr
    assert "denoising  step 3 of 25  10%  ETA 27.0 s" in done.stderr
    assert "warning: prompt has no effect" in done.stderr
    assert "toy succeeded in 84.1 s · on H200 eu-north2 (simulated) · cold start 9.30 s" in done.stderr
    assert done.stdout == ""


def test_a_broken_stream_is_taken_up_after_the_last_event_seen(run, platform):
    platform.break_after = [4, 17]
    done = run("watch", "rnd_1", "-o", "v.mp4")
    assert done.exit_code == 0, done.output
    assert platform.watched_from == [0, 4, 17]
    assert Path("v.mp4").exists()


def test_every_missing_or_unreadable_input_is_named_before_anything_is_sent(run, platform):
    done = run("render", "toy", "-p", "num_frames=7.5", "-p", "tiled=perhaps")
    assert done.exit_code == 1
    assert "num_frames: must be a whole number; got '7.5'" in done.stderr
    assert "tiled: must be true or false" in done.stderr
    assert "prompt is required: give -p prompt=…" in done.stderr
    assert "image is required: give --image FILE" in done.stderr
    assert platform.inputs == []


def test_a_failed_render_says_why_and_fails_the_command(run, platform, render, story, event):
    platform.story = [*story[:5], event(6, "denoising", status="failed")]
    platform.render = render(
        status="failed",
        error={"reason": "OUT_OF_MEMORY", "message": "the device is full", "retry": True},
        trace_id="abc",
    )
    done = run("watch", "rnd_1", "-o", "v.mp4")
    assert done.exit_code == 1
    assert "Error: rnd_1 failed" in done.stderr
    assert "the device is full (reason: OUT_OF_MEMORY)" in done.stderr
    assert "trace: abc" in done.stderr
    assert not Path("v.mp4").exists()


def test_a_damaged_video_is_not_kept(run, platform, render):
    platform.render = render(output={"sha256": "0" * 64})
    done = run("watch", "rnd_1", "-o", "v.mp4")
    assert done.exit_code == 1
    assert "the video arrived damaged" in done.stderr
    assert list(Path().glob("*.mp4*")) == []


def test_violations_of_the_server_have_a_line_each(run, platform, packed_status):
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="num_frames", description="must be at most 25"),
        error_details_pb2.BadRequest.FieldViolation(field="width", description="must be divisible by 8"),
    ]
    platform.refusal = packed_status(
        3,
        "invalid input: num_frames: must be at most 25; width: must be divisible by 8",
        error_details_pb2.ErrorInfo(reason="INVALID_INPUT", domain="forge"),
        error_details_pb2.BadRequest(field_violations=violations),
    )
    done = run("cancel", "rnd_1")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "Error: invalid input",
        "  num_frames: must be at most 25",
        "  width: must be divisible by 8",
        "  reason: INVALID_INPUT",
    ]


def test_a_missing_key_is_answered_with_how_to_give_one(run):
    done = run("renders", key="wrong-key-value")
    assert done.exit_code == 1
    assert "FORGE_API_KEY" in done.stderr
    assert "wrong-key-value" not in done.output


def test_an_unreachable_platform_is_named_with_the_way_out(run):
    done = run("renders", "--api-base", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "cannot reach Forge at http://127.0.0.1:1" in done.stderr
    assert "forge up" in done.stderr


def test_a_platform_that_cannot_answer_now_is_asked_again_but_never_to_make_a_second_key(run, platform):
    platform.outages = 1
    assert run("renders").exit_code == 0
    platform.outages = 1
    refused = run("keys", "create", "laptop")
    assert refused.exit_code == 1
    assert "cannot answer now" in refused.stderr


def test_renders_are_listed_as_a_table_or_as_json(run):
    assert "rnd_1" in run("renders").stdout
    listed = json.loads(run("renders", "--json").stdout)
    assert listed["renders"][0]["timing"]["total_ms"] == 84_100


def test_cancel_says_how_the_render_stands(run):
    assert run("cancel", "rnd_1").stdout == "rnd_1 is canceled\n"


def test_an_interrupted_watcher_is_told_how_to_come_back(run, platform, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("forge_cli.progress.LineView.show", interrupted)
    done = run("watch", "rnd_1")
    assert done.exit_code == 130
    assert "forge watch rnd_1" in done.stderr
    assert "forge cancel rnd_1" in done.stderr
    stopped = run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--cancel-on-interrupt")
    assert stopped.exit_code == 130
    assert "rnd_1 is canceled" in stopped.stderr
