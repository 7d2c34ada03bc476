"""What a bucket can do besides: addresses for those without keys, and dropping what was never finished."""

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from services.chassis.config import REPOSITORY
from services.chassis.errors import ServiceUnavailable
from services.chassis.objects import PART_BYTES, put_object
from services.scheduler.adapters.s3_bucket import S3Bucket
from services.scheduler.usecases.leftovers import AGE, Leftovers
from tests.object_stores import BUCKET
from tests.unit.scheduler.images_bench import HandClock, Slept

VIDEO = bytes(range(256)) * 40
KEY = "renders/rnd_1/1/video.mp4"
PUTS = """
import asyncio
from services.chassis.config import ChassisSettings
from services.chassis.objects import PART_BYTES, object_store, put_object
asyncio.run(put_object(object_store(ChassisSettings()), "renders/rnd_2/1/video.mp4", bytes(12 * PART_BYTES)))
"""


@pytest.fixture
def address_of(bucket, object_server):
    server, _ = object_server
    of = S3Bucket(bucket(), public_endpoint=server.endpoint)

    async def address(**changed):
        given = {"file_name": "a-model-rnd_1.mp4", "media_type": "video/mp4", "valid_for": timedelta(minutes=1)}
        return await of.address(KEY, **given | changed)

    return address


def unfinished(server, store):
    found = server.client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{store.prefix}/").get("Uploads", [])
    return [upload.get("Key") for upload in found]


def asked(verb, address, **more):
    return asyncio.to_thread(httpx.request, verb, address, **more)


async def test_an_address_gives_the_video_under_its_name_whole_and_in_parts(bucket, address_of):
    await put_object(bucket(), KEY, VIDEO)
    address = await address_of()
    answer = await asked("GET", address)
    assert (answer.status_code, answer.content) == (200, VIDEO)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="a-model-rnd_1.mp4"'
    part = await asked("GET", address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, VIDEO[100:200])


async def test_an_address_gives_nothing_else_lets_nobody_write_and_ends(bucket, address_of):
    await put_object(bucket(), KEY, VIDEO)
    await put_object(bucket(), KEY.replace("rnd_1", "rnd_2"), VIDEO)
    address = await address_of(valid_for=timedelta(seconds=1))
    assert (await asked("GET", address.replace("rnd_1/1", "rnd_2/1"))).status_code == 403
    assert (await asked("GET", address.replace("Expires=1&", "Expires=900&"))).status_code == 403
    assert (await asked("PUT", address, content=b"another")).status_code == 403
    assert (await asked("DELETE", address)).status_code == 403
    await asyncio.sleep(2.1)  # the server's clock counts whole seconds
    assert (await asked("GET", address)).status_code == 403


async def test_without_an_endpoint_for_clients_there_are_no_addresses(bucket):
    of = S3Bucket(bucket())
    given = {"file_name": "x.mp4", "media_type": "video/mp4", "valid_for": timedelta(minutes=1)}
    assert await of.address(KEY, **given) is None


async def test_what_a_killed_worker_was_putting_is_no_object_and_its_parts_are_dropped(bucket, object_server):
    server, spoiler = object_server
    store = bucket()
    spoiler.delay(100)
    with subprocess.Popen([sys.executable, "-c", PUTS], cwd=REPOSITORY) as worker:  # noqa: ASYNC220
        while not unfinished(server, store):
            assert worker.poll() is None
            await asyncio.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
    spoiler.nothing()
    of = S3Bucket(store)
    assert await of.abort(begun_before=datetime.now(UTC) - AGE) == 0, "it may still go on"
    assert len(unfinished(server, store)) == 1
    assert await of.abort(begun_before=datetime.now(UTC) + timedelta(seconds=2)) == 1
    assert unfinished(server, store) == []
    assert await of.abort(begun_before=datetime.now(UTC) + timedelta(seconds=2)) == 0


async def test_nothing_below_another_prefix_is_dropped(bucket, object_server):
    server, _ = object_server
    store = bucket()
    other = f"{store.prefix}0/of-somebody-else"
    begun = server.client.create_multipart_upload(Bucket=BUCKET, Key=other)
    server.client.create_multipart_upload(Bucket=BUCKET, Key=f"{store.prefix}/ours")
    assert await S3Bucket(store).abort(begun_before=datetime.now(UTC) + timedelta(seconds=2)) == 1
    part = server.client.upload_part(
        Bucket=BUCKET, Key=other, UploadId=begun["UploadId"], PartNumber=1, Body=bytes(PART_BYTES)
    )
    assert part["ETag"]


@pytest.mark.only_full_size
async def test_what_was_put_in_parts_and_failed_is_dropped_later(bucket, object_server):
    server, spoiler = object_server
    store = bucket()
    spoiler.delay(100)
    putting = asyncio.create_task(put_object(store, KEY, bytes(6 * PART_BYTES)))
    while not unfinished(server, store):
        await asyncio.sleep(0.05)
    spoiler.delay(0)
    spoiler.refuse(100)
    with pytest.raises(Exception, match="503"):
        await putting
    spoiler.nothing()
    await S3Bucket(store).abort(begun_before=datetime.now(UTC) + timedelta(seconds=2))
    assert unfinished(server, store) == []


async def test_a_server_that_refuses_is_unavailable(bucket, object_server):
    _, spoiler = object_server
    spoiler.refuse(100)
    with pytest.raises(ServiceUnavailable):
        await S3Bucket(bucket()).abort(begun_before=datetime.now(UTC))


async def test_leftovers_are_looked_for_again_whatever_the_store_says():
    asked: list[timedelta] = []
    clock = HandClock()

    class Puts:
        async def abort(self, *, begun_before):
            asked.append(clock.now() - begun_before)
            if len(asked) == 1:
                raise ServiceUnavailable("the object store")
            return 3

    for _ in range(2):
        with pytest.raises(Slept):
            await Leftovers(puts=Puts(), clock=clock).tidy()
    assert asked == [AGE, AGE]
