"""Objects in a bucket of a real S3-compatible server: whole or not at all, and configuration told in words."""

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from services.chassis.config import ChassisSettings
from services.chassis.objects import PART_BYTES, check_objects, object_store, put_object
from services.chassis.strict_yaml import ConfigurationInvalid
from tests.object_stores import BUCKET, READER_KEY_ID


def test_objects_lie_in_the_home_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGE_HOME", str(tmp_path / "home"))
    assert isinstance(object_store(ChassisSettings()), LocalStore)
    assert (tmp_path / "home" / "objects").is_dir()


@pytest.mark.parametrize(
    "url", ["bucket", "http://127.0.0.1/bucket", "s3://", "s3://key:secret@bucket", "file:folder", "s3://b?x=1"]
)
def test_an_address_that_is_none_is_told_so_without_being_repeated(url, monkeypatch):
    monkeypatch.setenv("FORGE_OBJECTS_URL", url)
    with pytest.raises(ValueError, match="must be s3://bucket/prefix or file:///folder") as caught:
        ChassisSettings()
    assert "key:secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "s3://x", "https://host/path"])
def test_an_endpoint_that_is_none_is_told_so(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ValueError, match="AWS_ENDPOINT_URL"):
        ChassisSettings()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12_345])
async def test_an_object_of_any_size_is_read_as_it_was_written(bucket, object_server, size):
    server, _ = object_server
    content = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    await put_object(bucket(), "sizes/video.mp4", content)
    assert bytes(obstore.get(bucket(), "sizes/video.mp4").bytes()) == content
    found = server.client.get_object(Bucket=BUCKET, Key=f"{bucket().prefix}/sizes/video.mp4")
    assert found["ContentType"] == "video/mp4"
    assert found["Body"].read() == content
    parts = -(-size // PART_BYTES)
    assert found["ETag"].strip('"').endswith(f"-{parts}") is (size > PART_BYTES)


async def test_an_object_that_is_written_over_is_the_old_one_or_the_new_one(bucket):
    store, old, new = bucket(), b"a" * (PART_BYTES + 1), b"b" * (PART_BYTES + 2)
    await put_object(store, "over", old)
    await put_object(store, "over", new)
    assert bytes(obstore.get(store, "over").bytes()) == new


async def test_a_bucket_that_works_is_found_to_work_and_left_as_it_was(bucket):
    store = bucket()
    assert await check_objects(store) is None
    assert obstore.list(store, prefix="checks/").collect() == []


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("AWS_SECRET_ACCESS_KEY", "of-somebody-else", "AWS_SECRET_ACCESS_KEY: they must be right"),
        ("AWS_ACCESS_KEY_ID", "nobody", "AWS_ACCESS_KEY_ID"),
        ("AWS_ACCESS_KEY_ID", READER_KEY_ID, "be let read, write, list and remove"),
        ("FORGE_OBJECTS_URL", "s3://not-there/x", "bucket not-there at http://127.0.0.1:.* is not there: make it"),
    ],
)
async def test_a_bucket_that_cannot_work_is_told_of_with_the_setting_to_change(
    bucket, monkeypatch, setting, value, remedy
):
    monkeypatch.setenv(setting, value)
    with pytest.raises(ConfigurationInvalid, match=remedy) as caught:
        await check_objects(bucket())
    assert "FORGE_OBJECTS_URL: bucket" in str(caught.value)
    assert "a-secret-of-tests-only" not in str(caught.value)


async def test_a_server_that_is_away_is_told_of_and_may_come_back(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = bucket()
    assert isinstance(store, S3Store)
    assert "bucket forge at http://127.0.0.1:1 does not answer" in str(await check_objects(store))


async def test_what_is_refused_now_and_then_is_asked_for_again_and_what_always_is_fails(bucket, object_server):
    _, spoiler = object_server
    store, large = bucket(), b"x" * (PART_BYTES + 1)
    refused = spoiler.refused
    spoiler.refuse(10)
    for number in range(12):
        for content in (b"small", large):
            await put_object(store, f"often/{number}", content)
            assert bytes(await (await obstore.get_async(store, f"often/{number}")).bytes_async()) == content
    assert spoiler.refused > refused
    spoiler.refuse(100)
    with pytest.raises(BaseError):
        await put_object(store, "often/0", b"another")
    spoiler.nothing()
    assert bytes(obstore.get(store, "often/0").bytes()) == large
