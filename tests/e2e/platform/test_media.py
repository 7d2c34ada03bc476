"""Bytes of videos as a browser and a person with a link fetch them, and what a deleted render leaves."""

import hashlib
import io

import httpx
import pytest
from PIL import Image

from tests.platforms import SKYREELS, SVD


@pytest.fixture
def render(platform, rest):
    """A finished render, wider than a thumbnail may be."""
    body = platform.small(SKYREELS, width=512, height=64, num_frames=9)
    return rest.post(f"/v1/inference/{SKYREELS}", json=body).json()


def test_a_video_can_be_fetched_in_parts_that_make_the_whole(rest, render):
    path, size = render["output"]["video_url"], render["output"]["size_bytes"]
    parts = []
    for start in range(0, size, 1000):
        answer = rest.get(path, headers={"range": f"bytes={start}-{start + 999}"})
        assert (answer.status_code, answer.headers["accept-ranges"]) == (206, "bytes")
        assert answer.headers["content-range"] == f"bytes {start}-{min(start + 999, size - 1)}/{size}"
        parts.append(answer.content)
    assert hashlib.sha256(b"".join(parts)).hexdigest() == render["output"]["sha256"]
    assert rest.get(path, headers={"range": "bytes=-10"}).content == parts[-1][-10:] or len(parts[-1]) < 10
    assert rest.get(path, headers={"range": f"bytes={size}-"}).headers["content-range"] == f"bytes */{size}"


def test_the_head_of_a_video_tells_its_size_and_name(rest, render):
    answer = rest.head(render["output"]["video_url"], params={"download": "1"})
    assert answer.headers["content-length"] == str(render["output"]["size_bytes"])
    assert answer.headers["content-disposition"] == f'attachment; filename="{SKYREELS}-{render["id"]}.mp4"'


def test_a_finished_render_has_a_small_picture_that_stands_for_it(rest, render):
    assert render["thumbnail_url"] == f"/v1/renders/{render['id']}/thumbnail"
    answer = rest.get(render["thumbnail_url"])
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (480, 60)


def test_a_render_that_has_no_video_has_no_picture_that_stands_for_it(rest, render_under_way):
    path = f"/v1/renders/{render_under_way}"
    assert rest.get(path).json()["thumbnail_url"] == ""
    answer = rest.get(f"{path}/thumbnail")
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "PREVIEW_NOT_READY")
    refused = rest.post(f"{path}/video-links")
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (404, "VIDEO_NOT_READY")
    rest.post(f"{path}/cancel")


def test_a_link_opens_a_video_for_somebody_without_a_key(platform, rest, render):
    made = rest.post(f"/v1/renders/{render['id']}/video-links", json={"ttl_seconds": 120}).json()
    with httpx.Client(base_url=platform.url, trust_env=False) as somebody:
        answer = somebody.get(made["url"])
        assert hashlib.sha256(answer.content).hexdigest() == render["output"]["sha256"]
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert somebody.get(made["url"], headers={"range": "bytes=4-7"}).content == b"ftyp"
        assert somebody.get(f"{made['url'][:-3]}xyz").status_code == 404
        assert somebody.get(render["output"]["video_url"]).status_code == 401


@pytest.mark.parametrize("seconds", [59, 7 * 24 * 3600 + 1, "60", 60.5])
def test_a_link_opens_for_a_minute_at_least_and_a_week_at_most(rest, render, seconds):
    answer = rest.post(f"/v1/renders/{render['id']}/video-links", json={"ttl_seconds": seconds})
    assert answer.status_code == 400
    assert answer.json()["details"][1]["field_violations"][0]["field"] == "ttl_seconds"


def test_a_deleted_render_is_gone_with_its_files_but_not_its_receipt(platform, rest, render, eventually):
    path, folder = f"/v1/renders/{render['id']}", platform.home / "objects" / "renders" / render["id"]
    link = rest.post(f"{path}/video-links").json()["url"]
    eventually(lambda: rest.get(f"{path}/receipt").status_code == 200, what="the receipt")
    receipt = rest.get(f"{path}/receipt").json()
    assert list(folder.rglob("video.mp4"))
    assert rest.delete(path).json() == {"render_id": render["id"]}
    for gone in (path, f"{path}/video", f"{path}/thumbnail", f"{path}/preview", f"{path}/events", link):
        assert rest.get(gone).status_code == 404
    assert rest.delete(path).status_code == 404
    assert render["id"] not in [found["id"] for found in rest.get("/v1/renders").json()["renders"]]
    assert [file for file in folder.rglob("*") if file.is_file()] == []
    assert rest.get(f"{path}/receipt").json() == receipt


def test_a_render_that_runs_can_be_deleted(rest, render_under_way):
    path = f"/v1/renders/{render_under_way}"
    assert rest.delete(path).status_code == 200
    assert rest.get(path).status_code == 404


def test_renders_are_listed_in_either_order(platform, rest):
    made = [rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()["id"] for _ in range(2)]
    newest = [found["id"] for found in rest.get("/v1/renders", params={"page_size": 2}).json()["renders"]]
    assert newest == made[::-1]
    listed = rest.get("/v1/renders", params={"oldest_first": True, "page_size": 100}).json()["renders"]
    assert [found["id"] for found in listed] == sorted(found["id"] for found in listed)
