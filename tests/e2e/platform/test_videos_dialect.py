"""The Videos dialect, with the client that its inventors publish, as it comes."""

import base64
import io
import warnings

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from tests.pictures import a_png
from tests.platforms import SKYREELS, SVD

# The service that the client was written for is given up, and the client says so at every call.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

QUICK = {"num_inference_steps": 2, "seed": 1}
WAN = "wan-ai-wan-2-1"


@pytest.fixture
def client(platform):
    with OpenAI(base_url=f"{platform.url}/v1", api_key=platform.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def finished(platform):
    """A video made from a picture, as the client makes one."""
    with (
        warnings.catch_warnings(action="ignore"),
        OpenAI(base_url=f"{platform.url}/v1", api_key=platform.key) as client,
    ):
        return client.videos.create_and_poll(
            model=SVD,
            prompt="it moves",
            input_reference=("cat.png", a_png(colour="teal"), "image/png"),
            seconds="1",  # pyright: ignore[reportArgumentType] — the models here take any
            size="64x64",  # pyright: ignore[reportArgumentType] — the models here take any
            extra_body={"num_inference_steps": 2, "fps": 2},
            poll_interval_ms=200,
        )


def test_a_video_is_made_from_a_picture_and_polled_to_its_end(finished):
    assert finished.status == "completed", finished
    assert (finished.model, finished.object, finished.progress) == (SVD, "video", 100)
    assert (finished.seconds, finished.size, finished.error) == ("1", "64x64", None)
    assert finished.completed_at >= finished.created_at


def test_its_bytes_and_its_picture_can_be_downloaded(client, finished, facts):
    assert facts(client.videos.download_content(finished.id).read()) == (2, 64, 64, 2.0)
    picture = client.videos.download_content(finished.id, variant="thumbnail").read()
    assert Image.open(io.BytesIO(picture)).format == "WEBP"


def test_it_is_the_same_render_as_everywhere(client, rest, finished):
    render = rest.get(f"/v1/renders/{finished.id}").json()
    assert (render["slug"], render["status"], render["output"]["num_frames"]) == (SVD, "succeeded", 2)
    assert client.videos.retrieve(finished.id).status == "completed"


def test_a_new_video_is_what_was_asked_for(client):
    made = client.videos.create(model=SKYREELS, prompt="a cat", seconds="1", size="64x64", extra_body=QUICK)
    assert made.status in ("queued", "in_progress")
    assert (made.seconds, made.size, made.prompt, made.remixed_from_video_id) == ("1.042", "64x64", "a cat", None)
    assert 0 <= made.progress < 100
    ended = client.videos.poll(made.id, poll_interval_ms=200)
    assert (ended.status, ended.seconds) == ("completed", "1.042")


def test_a_video_can_be_asked_for_as_json_too(rest):
    picture = "data:image/png;base64," + base64.b64encode(a_png(colour="teal")).decode()
    body = {"model": SVD, "prompt": "x", "size": "64x64", "seconds": 9, "input_reference": {"image_url": picture}}
    answer = rest.post("/v1/videos", json=body | {"num_inference_steps": 1})
    assert answer.status_code == 200, answer.text
    assert "the video lasts 3.57 s instead of 9 s: 25 frames are the nearest possible" in answer.json()["warnings"]
    rest.delete(f"/v1/videos/{answer.json()['id']}")


def test_the_same_key_makes_the_same_video(rest):
    body = {"model": SKYREELS, "prompt": "a cat", "size": "64x64", "seconds": "0"} | QUICK
    one, again = [rest.post("/v1/videos", json=body, headers={"idempotency-key": "videos-1"}).json() for _ in range(2)]
    assert one["id"] == again["id"]


def test_videos_are_listed_page_by_page_in_either_order(client, finished):
    newest = [video.id for video in client.videos.list(limit=3)]  # the client goes from page to page by itself
    assert finished.id in newest
    assert newest == sorted(newest, reverse=True)
    assert [video.id for video in client.videos.list(limit=3, order="asc")] == newest[::-1]
    assert len(client.videos.list(limit=1).data) == 1


def test_a_deleted_video_is_gone(client):
    made = client.videos.create_and_poll(
        model=SKYREELS, prompt="a cat", seconds="0", size="64x64", extra_body=QUICK, poll_interval_ms=200
    )
    gone = client.videos.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "video.deleted", True)
    for look in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError) as refusal:
            look(made.id)
        assert refusal.value.code == "video_not_found"


def test_a_video_in_the_making_can_be_deleted_and_has_no_bytes_before(client, render_under_way):
    with pytest.raises(openai.NotFoundError) as refusal:
        client.videos.download_content(render_under_way)
    assert refusal.value.code == "video_not_ready"
    assert client.videos.delete(render_under_way).deleted


def test_a_canceled_video_has_failed_and_says_why(client, rest, render_under_way):
    rest.post(f"/v1/renders/{render_under_way}/cancel")
    ended = client.videos.poll(render_under_way, poll_interval_ms=200)
    assert (ended.status, ended.error.code) == ("failed", "canceled")


@pytest.mark.parametrize(
    ("asked", "error", "code", "param"),
    [
        ({"model": "sora-2"}, openai.NotFoundError, "model_not_found", "model"),
        ({}, openai.BadRequestError, "invalid_value", "model"),
        ({"model": SKYREELS, "size": "wide"}, openai.BadRequestError, "invalid_value", "size"),
        ({"model": SKYREELS, "size": "1792x1024"}, openai.BadRequestError, "invalid_value", "size"),
        ({"model": SKYREELS, "seconds": "long"}, openai.BadRequestError, "invalid_value", "seconds"),
        ({"model": SVD}, openai.BadRequestError, "invalid_value", "input_reference"),
        ({"model": SVD, "input_reference": b"no picture"}, openai.BadRequestError, "invalid_value", "input_reference"),
        ({"model": WAN, "input_reference": b"P6"}, openai.BadRequestError, "invalid_value", "input_reference"),
        ({"model": SKYREELS, "extra_body": {"sead": 1}}, openai.BadRequestError, "invalid_value", "sead"),
    ],
)
def test_what_cannot_be_made_is_refused_in_the_clients_own_words(client, asked, error, code, param):
    with pytest.raises(error) as refusal:
        client.videos.create(prompt="x", **asked)
    assert (refusal.value.code, refusal.value.param) == (code, param)
    assert refusal.value.body["type"]


def test_what_the_dialect_has_beyond_this_is_not_found(client, finished):
    with pytest.raises(openai.NotFoundError) as refusal:
        client.videos.remix(finished.id, prompt="again")
    assert refusal.value.code == "route_not_found"
    with pytest.raises(openai.BadRequestError):
        client.videos.download_content(finished.id, variant="spritesheet")


def test_a_key_that_may_only_read_makes_nothing(platform, rest):
    reader = rest.post("/v1/api-keys", json={"name": "reader", "scopes": ["read"]}).json()["secret"]
    with (
        OpenAI(base_url=f"{platform.url}/v1", api_key=reader, max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError) as refusal,
    ):
        client.videos.create(model=SKYREELS, prompt="x")
    assert refusal.value.code == "missing_scope"
    with (
        OpenAI(base_url=f"{platform.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.videos.list()


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"no form"),
        ("text/plain", b"\xff"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(platform, rest, content_type, content):
    answer = httpx.post(
        f"{platform.url}/v1/videos",
        content=content,
        headers={"authorization": f"Bearer {platform.key}", "content-type": content_type},
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
