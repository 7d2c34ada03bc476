"""Rules of `--stream`: a video that is passed on while it is made."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from google.rpc import error_details_pb2

FORGE = [sys.executable, "-m", "forge_cli"]
FINISHED = b"not really a video" * 1000


@pytest.fixture
def growing(platform, story):
    """The first frames can be played from the 10th event on; the events after it are told once `growing` is set."""
    for event in story[9:]:
        event.progress.playable_seconds = 0.7
    platform.story = story
    fetched = threading.Event()
    platform.told_after = {11: fetched}
    return fetched


@pytest.fixture
def status(packed_status):
    """Builds what the platform says when it cannot go on with a video."""

    def make(code: int, reason: str):
        return packed_status(code, "no more", error_details_pb2.ErrorInfo(reason=reason, domain="forge"))

    return make


def test_a_video_is_in_its_file_while_the_render_goes_on(run, platform, growing):
    platform.videos = [[b"one", growing.set, b"two"]]
    done = run("watch", "rnd_1", "--stream", "new/live.mp4")
    assert done.exit_code == 0, done.output
    assert platform.waited_in_vain == []
    assert Path("new/live.mp4").read_bytes() == b"onetwo"
    assert done.stdout == ""


def test_a_pipe_gets_the_video_and_nothing_else(run, platform, growing):
    platform.videos = [[b"one", growing.set, b"two"]]
    done = run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--stream", "-")
    assert done.exit_code == 0, done.output
    assert done.stdout_bytes == b"onetwo"
    assert "toy succeeded" in done.stderr
    assert list(Path().glob("*.mp4")) == []


def test_the_finished_video_is_fetched_beside_the_stream_when_asked_for(run, platform, growing):
    platform.videos = [[b"one", growing.set, b"two"]]
    done = run("watch", "rnd_1", "--stream", "-", "-o", "v.mp4")
    assert done.stdout_bytes == b"onetwo"
    assert Path("v.mp4").read_bytes() == FINISHED
    assert "v.mp4" in done.stderr


def test_a_render_with_nothing_to_play_before_its_end_is_streamed_then(run):
    done = run("watch", "rnd_1", "--stream", "-")
    assert done.exit_code == 0, done.output
    assert done.stdout_bytes == FINISHED


@pytest.mark.parametrize(
    ("code", "reason"), [(14, ""), (5, "VIDEO_NOT_READY"), (10, "VIDEO_CUT_OFF")], ids=["lost", "not ready", "cut off"]
)
def test_a_stream_that_breaks_is_taken_up_and_no_byte_comes_twice(run, platform, growing, status, code, reason):
    platform.videos = [[b"o", b"ne", growing.set, status(code, reason)], [status(code, reason)], [b"onet", b"wo"]]
    done = run("watch", "rnd_1", "--stream", "-")
    assert done.exit_code == 0, done.output
    assert done.stdout_bytes == b"onetwo"


def test_a_file_holds_the_newer_video_when_a_render_begins_again(run, platform, growing, status):
    platform.videos = [[b"one", b"two", growing.set, status(10, "VIDEO_CUT_OFF")], [b"one", b"x"]]
    done = run("watch", "rnd_1", "--stream", "live.mp4")
    assert done.exit_code == 0, done.output
    assert Path("live.mp4").read_bytes() == b"onex"


def test_a_pipe_that_cannot_follow_a_render_that_began_again_is_an_error(run, platform, growing, status):
    platform.videos = [[b"one", b"two", growing.set, status(10, "VIDEO_CUT_OFF")], [b"one", b"x"]]
    done = run("watch", "rnd_1", "--stream", "-")
    assert done.exit_code == 1
    assert done.stdout_bytes == b"onetwo"
    assert "rnd_1 began again" in done.stderr
    assert "forge watch rnd_1 -o video.mp4" in done.stderr


def test_a_video_that_never_comes_is_an_error(run, platform, status, monkeypatch):
    monkeypatch.setattr("forge_cli.patience.PATIENCE_SECONDS", 0.05)
    platform.videos = [[status(14, "")]] * 100
    done = run("watch", "rnd_1", "--stream", "live.mp4")
    assert done.exit_code == 1
    assert "the video stopped arriving" in done.stderr


def test_a_refusal_is_not_asked_again(run, platform, status):
    platform.videos = [[status(7, "MISSING_SCOPE")]]
    done = run("watch", "rnd_1", "--stream", "live.mp4")
    assert done.exit_code == 1
    assert "MISSING_SCOPE" in done.stderr


def test_what_is_there_of_a_failed_render_is_streamed_and_stays(run, platform, growing, render, event, status):

    def until_the_end():
        assert platform.read.wait(30)

    platform.videos = [[b"one", growing.set, until_the_end, b"two", status(10, "VIDEO_CUT_OFF")]]
    platform.story = [*platform.story[:11], event(12, "denoising", status="failed")]
    platform.render = render(status="failed", error={"reason": "OUT_OF_MEMORY", "message": "the device is full"})
    done = run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--stream", "live.mp4")
    assert done.exit_code == 1
    assert "the device is full" in done.stderr
    assert Path("live.mp4").read_bytes() == b"onetwo"


def test_a_player_that_leaves_does_not_end_the_watch(platform, growing, environment):
    platform.videos = [[b"x" * 100, growing.set, *[b"x" * 100] * 10_000]]  # more than a pipe holds
    watching = subprocess.Popen(
        [*FORGE, "watch", "rnd_1", "--stream", "-"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watching.stdout is not None
    watching.stdout.read(10)
    watching.stdout.close()
    _, told = watching.communicate()
    assert watching.returncode == 0, told
    assert b"toy succeeded" in told
    assert b"BrokenPipeError" not in told


def test_a_video_is_not_written_to_a_terminal(environment):
    controller, terminal = pty.openpty()
    try:
        command = [*FORGE, "watch", "rnd_1", "--stream", "-"]
        done = subprocess.run(command, env=os.environ | environment, stdout=terminal, stderr=subprocess.PIPE)
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 2
    assert b"ffplay" in done.stderr


def test_nobody_streams_what_nobody_waits_for(run, platform):
    done = run("render", "toy", "-p", "prompt=x", "-p", "image=x", "--detach", "--stream", "-")
    assert done.exit_code == 2
    assert "--detach" in done.stderr
    assert platform.inputs == []


def test_a_file_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "file").touch()
    done = run("watch", "rnd_1", "--stream", "file/live.mp4")
    assert done.exit_code == 1
    assert "cannot write file/live.mp4" in done.stderr


def test_it_is_told_once_where_the_first_frames_can_be_played(run, growing):
    growing.set()
    told = run("watch", "rnd_1").stderr
    assert told.count("the first frames can be played: forge watch rnd_1 --stream - | ffplay ") == 1
    assert "the first frames can be played: live.mp4" in run("watch", "rnd_1", "--stream", "live.mp4").stderr
    assert "the first frames" not in run("watch", "rnd_1", "--stream", "-").stderr
