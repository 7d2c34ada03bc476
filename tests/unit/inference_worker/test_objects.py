"""Objects on a disk that runs full: an error of ours, and never half an object."""

import asyncio
import subprocess
import sys

import pytest
from obstore.store import LocalStore, MemoryStore

from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.domain.errors import StorageFailed

ON_A_DISK_OF_256_KIB = """
import asyncio, os, pathlib, subprocess, sys
from obstore.store import from_url
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.domain.errors import StorageFailed

folder = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=True)

async def main():
    objects = ObstoreObjects(from_url(folder.as_uri(), mkdir=True))
    await objects.put("r/video.mp4", b"old")
    for key in ("r/video.mp4", "r/other.mp4"):
        try:
            await objects.put(key, bytes(1_000_000))
        except StorageFailed as failed:
            assert "No space left" in str(failed.__cause__), failed.__cause__
        else:
            raise AssertionError("it was taken")
    assert await objects.get("r/video.mp4") == b"old"
    await objects.put("r/video.mp4", bytes(100_000))  # what was written in vain is gone
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["video.mp4"]

asyncio.run(main())
os._exit(0)  # obstore's threads may not have ended yet, and the end of an interpreter aborts in one that has not
"""


def can_mount() -> bool:
    try:
        return subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="needs a file system of its own, which this machine does not allow")
def test_on_a_full_disk_an_object_is_refused_the_old_one_stays_and_nothing_is_left_of_the_new_one(tmp_path):
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", ON_A_DISK_OF_256_KIB]
    subprocess.run([*command, str(tmp_path)], check=True, cwd=REPOSITORY, timeout=60)


async def test_an_object_that_is_written_over_is_the_old_one_or_the_new_one(tmp_path):
    objects = ObstoreObjects(LocalStore(tmp_path))
    old, new = b"a" * 5_000_000, b"b" * 5_000_000
    await objects.put("video.mp4", old)
    seen = set()

    async def write():
        for content in (new, old) * 5:
            await objects.put("video.mp4", content)

    writing = asyncio.create_task(write())
    while not writing.done():
        seen.add(await objects.get("video.mp4"))
    assert seen <= {old, new}
    await writing


async def test_what_is_not_there_cannot_be_read():
    with pytest.raises(StorageFailed):
        await ObstoreObjects(MemoryStore()).get("nothing")
