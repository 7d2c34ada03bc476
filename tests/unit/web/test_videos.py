"""The Videos dialect: how its words become inputs, and a render a video."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import ForgeError, InvalidInput, Kind, Violation
from services.scheduler.domain.errors import RenderNotFound
from services.scheduler.domain.inputs import Rule, broken_rules, with_defaults
from services.web.videos.errors import error_response
from services.web.videos.lengths import frames_for
from services.web.videos.translation import data_uri, inference_body, video

MODELS = Path(__file__).resolve().parents[3] / "config" / "models"


def schema_of(name):
    page = yaml.safe_load((MODELS / f"{name}.yaml").read_text())
    return page["versions"][0]["input_schema"]


SVD, SKYREELS, WAN = map(schema_of, ("stabilityai-stable-video-diffusion", "skywork-skyreels-v2", "wan-ai-wan-2-1"))
PICTURE = "data:image/png;base64,AAAA"


def body(schema=SKYREELS, **asked):
    return inference_body({"model": "m", "prompt": "a cat"} | asked, schema)[0]


def refused(schema=SKYREELS, **asked):
    with pytest.raises(InvalidInput) as refusal:
        body(schema, **asked)
    return [violation.field for violation in refusal.value.violations]


@pytest.mark.parametrize(
    ("schema", "seconds", "frames"),
    [(SKYREELS, 4, 97), (SKYREELS, 1, 25), (SKYREELS, 0, 1), (WAN, 5, 81), (WAN, 8, 129), (SVD, 2, 14), (SVD, 8, 25)],
)
def test_seconds_become_the_nearest_number_of_frames_that_the_model_can_make(schema, seconds, frames):
    assert frames_for(seconds, schema, {}) == frames


@given(
    st.sampled_from([SVD, SKYREELS, WAN]),
    st.floats(0, 20),
    st.fixed_dictionaries(
        {},
        optional={
            "fps": st.integers(1, 60),
            "causal_block_size": st.integers(1, 7),
            "overlap_history": st.just(17),
            "base_num_frames": st.sampled_from([77, 97]),
        },
    ),
)
def test_the_number_of_frames_breaks_no_rule_of_the_model(schema, seconds, inputs):
    frames = frames_for(seconds, schema, inputs)
    complete = with_defaults(inputs | {"num_frames": frames}, schema["properties"])
    rules = [Rule(rule["kind"], tuple(rule["fields"]), rule["text"]) for rule in schema.get("x-forge-rules", ())]
    assert not broken_rules([rule for rule in rules if "num_frames" in rule.fields], complete)


def test_a_longer_video_than_one_window_is_made_when_the_request_says_how_windows_overlap():
    assert frames_for(8, SKYREELS, {}) == 97
    assert frames_for(8, SKYREELS, {"overlap_history": 17}) == 193


def test_a_size_is_a_width_and_a_height():
    assert body(size="1280x720") == {"model": "m", "prompt": "a cat", "width": 1280, "height": 720}


def test_what_the_dialect_has_no_word_for_passes_as_it_is():
    asked = {"seed": 7, "guidance_scale": 2.5, "gpu_type": "H100", "mode": "sync", "unheard": {"of": 1}}
    assert body(**asked) == {"model": "m", "prompt": "a cat"} | asked


def test_texts_of_a_form_become_what_the_schema_says():
    made = body(seed="7", guidance_scale="2.5", negative_prompt="7", fps="often")
    assert made == {
        "model": "m",
        "prompt": "a cat",
        "seed": 7,
        "guidance_scale": 2.5,
        "negative_prompt": "7",
        "fps": "often",
    }


def test_a_picture_goes_to_the_input_that_takes_one():
    assert body(SVD, input_reference=PICTURE)["image"] == PICTURE


def test_a_picture_that_the_model_has_no_use_for_is_refused():
    assert refused(WAN, input_reference=PICTURE) == ["input_reference"]


@pytest.mark.parametrize("reference", ["https://example.com/cat.png", "forge-upload://upl_1"])
def test_a_picture_that_is_elsewhere_is_named_as_it_is(reference):
    assert body(SVD, input_reference=reference)["image"] == reference


@pytest.mark.parametrize("reference", ["http://example.com/cat.png", "", {"file_id": "file_1"}, 7])
def test_what_names_no_picture_is_refused(reference):
    assert refused(SVD, input_reference=reference) == ["input_reference"]


def test_everything_that_is_wrong_is_named_at_once():
    assert refused(WAN, size="large", seconds="long", input_reference=PICTURE) == ["size", "input_reference", "seconds"]


def test_a_length_that_cannot_be_had_is_told():
    asked = {"model": "m", "seconds": "8"}
    assert inference_body(asked, SVD)[1] == [
        "the video lasts 3.57 s instead of 8 s: 25 frames are the nearest possible"
    ]
    assert inference_body(asked | {"seconds": "4"}, SKYREELS)[1] == []


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\x89PNG....", "image/png"),
        (b"\xff\xd8\xff..", "image/jpeg"),
        (b"RIFF....WEBP", "image/webp"),
        (b"P6 1 1", "image/x-portable-pixmap"),
        (b"?", "image/gif"),
    ],
)
def test_a_file_is_taken_for_what_it_begins_like_and_else_for_what_is_said(content, media_type):
    uri = data_uri(content, "image/gif")
    assert uri == f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def a_render(status="running", **changes):
    return {
        "id": "rnd_1",
        "slug": "m",
        "status": status,
        "progress": {"fraction": 0.417},
        "shape": {"width": 64, "height": 32, "num_frames": 97, "fps": 24},
        "warnings": [],
        "created_at": "2026-11-27T12:00:00.900Z",
    } | changes


def test_a_render_that_runs_is_a_video_in_progress():
    made = video(a_render())
    assert made | {"id": "rnd_1", "object": "video", "model": "m", "status": "in_progress", "progress": 41} == made
    assert (made["size"], made["seconds"], made["created_at"]) == ("64x32", "4.042", 1_795_780_800)
    assert made["completed_at"] is made["expires_at"] is made["error"] is made["prompt"] is None


def test_a_finished_video_says_what_it_became():
    output = {"width": 128, "height": 64, "num_frames": 48, "fps": 24.0}
    made = video(a_render("succeeded", output=output, ended_at="2026-11-27T12:01:00Z"))
    assert (made["status"], made["progress"], made["completed_at"]) == ("completed", 100, 1_795_780_860)
    assert (made["size"], made["seconds"]) == ("128x64", "2")


@pytest.mark.parametrize(
    ("status", "word"),
    [("queued", "queued"), ("paused", "in_progress"), ("canceling", "in_progress"), ("canceled", "failed")],
)
def test_every_state_has_its_word(status, word):
    assert video(a_render(status))["status"] == word


def test_a_failed_video_says_why():
    error = {"reason": "OUT_OF_MEMORY", "message": "too large"}
    assert video(a_render("failed", error=error))["error"] == {"code": "out_of_memory", "message": "too large"}
    assert video(a_render("expired"))["error"]["code"] == "expired"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (
            InvalidInput([Violation("num_frames", "must be at most 25")]),
            400,
            {"type": "invalid_request_error", "param": "seconds", "code": "invalid_value"},
        ),
        (RenderNotFound("rnd_1"), 404, {"type": "not_found_error", "param": None, "code": "video_not_found"}),
        (
            ForgeError("no such model", kind=Kind.NOT_FOUND, reason="MODEL_NOT_FOUND"),
            404,
            {"type": "not_found_error", "param": "model", "code": "model_not_found"},
        ),
        (
            ForgeError("full", kind=Kind.EXHAUSTED, reason="QUOTA_EXCEEDED", retry_after_seconds=7),
            429,
            {"type": "rate_limit_error", "param": None, "code": "quota_exceeded"},
        ),
        (ForgeError("internal error"), 500, {"type": "server_error", "param": None, "code": "internal"}),
    ],
)
def test_errors_have_the_form_of_the_dialect(error, status, expected):
    response = error_response(error)
    told = json.loads(bytes(response.body))["error"]
    assert response.status_code == status
    assert told | expected == told
    assert told["message"]
    assert response.headers.get("retry-after") == ("7" if status == 429 else None)
