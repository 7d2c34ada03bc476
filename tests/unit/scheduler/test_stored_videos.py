"""Videos as an object store has them."""

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from services.scheduler.adapters.obstore_videos import ObstoreVideos

VIDEO = bytes(range(256)) * 4096


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "objects", mkdir=True)
    for key in ("renders/a/1/video.mp4", "renders/a/1/pieces/00001.mp4", "renders/a/2/checkpoint", "renders/ab/1/x"):
        obstore.put(store, key, VIDEO)
    return store


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
