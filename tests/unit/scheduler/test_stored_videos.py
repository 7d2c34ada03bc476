"""Videos as an object store has them."""

import obstore
import pytest

from services.chassis.errors import ServiceUnavailable
from services.chassis.objects import put_object
from services.scheduler.adapters.obstore_videos import ObstoreVideos

VIDEO = bytes(range(256)) * 4096


@pytest.fixture
def store(objects):
    for key in ("renders/a/1/video.mp4", "renders/a/1/pieces/00001.mp4", "renders/a/2/checkpoint", "renders/ab/1/x"):
        obstore.put(objects, key, VIDEO)
    return objects


@pytest.mark.parametrize(("offset", "length"), [(0, None), (0, 1), (1000, 700_000), (len(VIDEO) - 1, 1)])
async def test_a_part_is_exactly_what_was_asked_for(store, offset, length):
    found = await ObstoreVideos(store).open("renders/a/1/video.mp4", offset=offset, length=length)
    assert found is not None
    end = None if length is None else offset + length
    assert b"".join([piece async for piece in found]) == VIDEO[offset:end]


async def test_what_is_not_there_is_none(store):
    assert await ObstoreVideos(store).open("renders/nothing") is None


async def test_a_folder_is_emptied_but_for_what_is_to_stay(store):
    videos = ObstoreVideos(store)
    await videos.remove_all("renders/a", but={"renders/a/2/checkpoint"})
    await videos.remove_all("renders/nothing")
    assert sorted(found["path"] for found in obstore.list(store).collect()) == [
        "renders/a/2/checkpoint",
        "renders/ab/1/x",
    ]


async def test_a_store_that_refuses_is_unavailable_and_nothing_else(bucket, object_server):
    _, spoiler = object_server
    videos = ObstoreVideos(bucket())
    spoiler.refuse(100)
    with pytest.raises(ServiceUnavailable):
        await videos.open("renders/a/1/video.mp4")
    with pytest.raises(ServiceUnavailable):
        await videos.remove_all("renders/a")


@pytest.mark.only_full_size
async def test_a_video_that_breaks_off_on_its_way_is_no_shorter_video(bucket, object_server):
    server, spoiler = object_server
    await put_object(bucket(), "renders/a/1/video.mp4", VIDEO * 16)  # more than is held on the way
    spoiler.trickle(100)
    found = await ObstoreVideos(bucket()).open("renders/a/1/video.mp4")
    assert found is not None
    server.kill()
    try:
        with pytest.raises(ServiceUnavailable):
            async for _ in found:
                pass
    finally:
        server.start()
