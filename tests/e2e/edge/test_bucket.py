"""A whole platform whose objects lie in a bucket."""

import hashlib
import io
from collections.abc import Iterator

import httpx
import psutil
import pytest
from PIL import Image

from tests.object_stores import BUCKET, SECRET, ObjectStoreServer, an_object_store
from tests.platforms import SVD, Platform, on_one_slot, running

pytestmark = pytest.mark.only_full_size


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStoreServer]:
    with an_object_store() as (server, _):
        yield server


@pytest.fixture(scope="module")
def platform(server: ObjectStoreServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("on-a-bucket")
    environment = {
        "FORGE_WEIGHTS": "random",
        "FORGE_OBJECTS_PUBLIC_ENDPOINT": server.endpoint,
        **server.environment,
    }
    with running(on_one_slot(root, environment)) as subject:
        yield subject


def keys(server: ObjectStoreServer, folder: str = "") -> list[str]:
    found = server.client.list_objects_v2(Bucket=BUCKET, Prefix=f"of-tests/{folder}")
    return [str(entry.get("Key")).removeprefix("of-tests/") for entry in found.get("Contents", [])]


def test_a_render_is_made_shown_in_parts_and_deleted_there(platform: Platform, server: ObjectStoreServer) -> None:
    with platform.client() as client:
        made = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        video = client.get(made["output"]["video_url"])
        assert hashlib.sha256(video.content).hexdigest() == made["output"]["sha256"]
        part = client.get(made["output"]["video_url"], headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, video.content[10:20])
        assert client.get(f"/v1/renders/{made['id']}/thumbnail").content.startswith(b"RIFF")
        assert f"renders/{made['id']}/1/video.mp4" in keys(server)
        assert not list((platform.home / "objects").rglob("*"))
        assert client.delete(f"/v1/renders/{made['id']}").status_code == 200
        assert keys(server, f"renders/{made['id']}/") == []


def test_a_link_leads_to_the_bucket_for_whoever_has_it(platform: Platform, server: ObjectStoreServer) -> None:
    with platform.client() as client:
        made = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        link = client.post(f"/v1/renders/{made['id']}/video-links", json={"ttl_seconds": 60}).json()["url"]
    with httpx.Client(base_url=platform.url) as anybody:
        led_on = anybody.get(link)
        assert (led_on.status_code, led_on.headers["cache-control"]) == (302, "no-store")
        address = httpx.URL(led_on.headers["location"])
        assert f"{address.scheme}://{address.netloc.decode()}" == server.endpoint
        assert 50 <= int(address.params["X-Amz-Expires"]) <= 60, "no longer than the link"
        video = httpx.get(address)
        assert hashlib.sha256(video.content).hexdigest() == made["output"]["sha256"]
        assert video.headers["content-disposition"] == f'attachment; filename="{SVD}-{made["id"]}.mp4"'
        assert anybody.head(link).status_code == 200, "which is not what the address is signed for"
    with platform.client() as client:
        client.delete(f"/v1/renders/{made['id']}").raise_for_status()
    with httpx.Client(base_url=platform.url) as anybody:
        assert anybody.get(link).status_code == 404
    assert httpx.get(address).status_code == 404


def test_an_upload_is_kept_there_used_and_removed(platform: Platform, server: ObjectStoreServer) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    with platform.client() as client:
        upload = client.post("/v1/uploads", files={"file": ("a.png", picture.getvalue(), "image/png")}).json()
        assert keys(server, "uploads/") == [f"uploads/{upload['id']}"]
        body = platform.small(SVD) | {"image": upload["uri"]}
        assert client.post(f"/v1/inference/{SVD}", json=body).json()["status"] == "succeeded"
        client.delete(f"/v1/uploads/{upload['id']}").raise_for_status()
    assert keys(server, "uploads/") == []


def test_the_server_is_away_for_a_while_and_nothing_is_lost(platform: Platform, server: ObjectStoreServer) -> None:
    with platform.client() as client:
        kept = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        server.kill()
        try:
            refused = client.get(kept["output"]["video_url"])
            assert (refused.status_code, refused.json()["details"][0]["reason"]) == (503, "SERVICE_UNAVAILABLE")
            waiting = client.post("/v1/renders", json=platform.small(SVD) | {"seed": 2}).json()
        finally:
            server.start()
        assert client.get(kept["output"]["video_url"]).status_code == 200
        done = client.get(f"/v1/renders/{waiting['id']}/events").text
        assert '"succeeded"' in done


def test_only_the_scheduler_and_its_workers_have_the_keys(platform: Platform) -> None:
    with platform.client() as client:
        client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).raise_for_status()
    assert platform.process is not None
    have = set()
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        if SECRET in process.environ().values():
            have |= {word for word in process.cmdline() if word.startswith("services.")} or {process.name()}
    assert have >= {"services.scheduler", "services.inference_worker"}
    assert not have & {"services.web", "services.accounts", "services.catalog", "envoy"}, have
    assert [path for path in platform.home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


def test_the_operator_is_told_that_the_bucket_takes_objects(platform: Platform) -> None:
    assert "s3://forge/of-tests takes objects" in platform.forge("doctor", check=False).stdout
