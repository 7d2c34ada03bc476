"""A render is seen while it is made: the first frames play long before the end, and previews show what comes."""

import io

import av
import httpx
import pytest
from forge.scheduler.v1 import render_service_pb2, render_service_pb2_grpc
from grpc import aio
from PIL import Image

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"

# Five blocks, each begun when the one before is finished: the first takes a small part of the work.
BLOCKS = {
    "num_frames": 97,
    "base_num_frames": 97,
    "causal_block_size": 5,
    "ar_step": 6,
    "num_inference_steps": 6,
    "width": 192,
    "height": 128,
    "fps": 24,
}


def pictures(video: bytes):
    with av.open(io.BytesIO(video), "r", format="mp4") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_video_of_a_running_render_plays_from_its_beginning_and_grows_to_the_finished_one(
    platform, rest, eventually
):
    path = "/v1/renders/" + rest.post("/v1/renders", json=platform.small(SKYREELS, **BLOCKS)).json()["id"]
    eventually(lambda: rest.get(path).json()["progress"].get("playable_seconds"), seconds=60, what="the first frames")
    with rest.stream("GET", f"{path}/video") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "video/mp4"
        parts = answer.iter_bytes()
        beginning = next(parts)
        at_the_beginning = rest.get(path).json()
        grown = beginning + b"".join(parts)
    assert at_the_beginning["status"] == "running", "the first bytes came before the end"
    ended = rest.get(path).json()
    assert ended["status"] == "succeeded", ended
    timing = ended["timing"]
    waited_ms = timing["queued_ms"] + timing.get("cold_start_ms", 0)
    assert timing["first_frames_ms"] - waited_ms < 0.6 * (timing["total_ms"] - waited_ms)
    finished = pictures(rest.get(f"{path}/video").content)
    assert len(finished) == 97
    assert all((a == b).all() for a, b in zip(pictures(grown), finished, strict=True))
    first = pictures(beginning[: beginning.rindex(b"moof") - 4] if beginning.count(b"moof") > 1 else beginning)
    assert all((a == b).all() for a, b in zip(first, finished, strict=False))
    assert len(first) >= 17


def test_events_say_how_much_can_be_played(platform, rest, followed):
    render = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS, **BLOCKS)).json()
    playable = [event["progress"].get("playable_seconds") or 0 for event in followed(render["id"])]
    assert playable == sorted(playable)
    assert playable[0] == 0
    assert playable[-1] == pytest.approx(97 / 24)
    told = sorted(set(playable) - {0})
    assert told == pytest.approx([(17 + 20 * block) / 24 for block in range(5)])


def test_before_the_first_frames_there_is_no_video_and_after_a_cancel_none_any_more(platform, rest, render_under_way):
    path = f"/v1/renders/{render_under_way}"
    assert rest.get(f"{path}/video").status_code == 404
    rest.post(f"{path}/cancel")


def test_a_growing_video_of_a_canceled_render_breaks_off(platform, rest, eventually):
    path = "/v1/renders/" + rest.post("/v1/renders", json=platform.small(SKYREELS, **BLOCKS)).json()["id"]
    eventually(lambda: rest.get(path).json()["progress"].get("playable_seconds"), seconds=60, what="the first frames")
    with rest.stream("GET", f"{path}/video") as answer:
        parts = answer.iter_bytes()
        next(parts)
        rest.post(f"{path}/cancel")
        with pytest.raises(httpx.RemoteProtocolError):  # nobody takes it for a whole one
            list(parts)
    assert rest.get(path).json()["status"] == "canceled"


@pytest.mark.parametrize("slug", [SVD, SKYREELS])
def test_a_render_shows_small_pictures_of_what_it_makes(platform, rest, followed, slug):
    render = rest.post(f"/v1/inference/{slug}", json=platform.small(slug, num_inference_steps=5)).json()
    told = {event["preview_url"] for event in followed(render["id"])} - {""}
    assert render["preview_url"] in told
    for url in (*told, f"/v1/renders/{render['id']}/preview"):
        answer = rest.get(url)
        assert answer.headers["content-type"] == "image/webp"
        assert len(answer.content) < 20_000
        assert max(Image.open(io.BytesIO(answer.content)).size) <= 256


def test_a_preview_that_is_not_there_is_not_found(platform, rest):
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    answer = rest.get(f"/v1/renders/{render['id']}/previews/1")
    assert answer.status_code == 404
    assert answer.json()["details"][0]["reason"] == "PREVIEW_NOT_READY"


def test_a_finished_render_says_how_it_was_made(platform, rest):
    render = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
    assert render["mode"] == "sync"
    assert set(render["peak_memory"]) == {"encoding", "denoising", "decoding"}
    assert all(peak["allocated_bytes"] > 0 for peak in render["peak_memory"].values())
    assert 0 <= render["timing"]["eta_error"] < 10


async def test_the_same_pieces_come_over_grpc(platform):
    async with aio.insecure_channel(platform.url.removeprefix("http://")) as channel:
        renders = render_service_pb2_grpc.RenderServiceStub(channel)
        body = render_service_pb2.CreateRenderRequest()
        body.input.update(platform.small(SKYREELS, **BLOCKS))
        render = await renders.CreateRender(body, metadata=platform.metadata)
        watch = render_service_pb2.WatchRenderRequest(render_id=render.id)
        async for event in renders.WatchRender(watch, metadata=platform.metadata):
            if event.progress.playable_seconds:
                break
        fetch = render_service_pb2.GetVideoRequest(render_id=render.id)
        parts = [part async for part in renders.GetVideo(fetch, metadata=platform.metadata)]
    assert {part.content_type for part in parts} == {"video/mp4"}
    assert len(pictures(b"".join(part.data for part in parts))) == 97
