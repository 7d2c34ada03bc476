"""Images that are sent beforehand: what is kept, for whom, and for how long."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import InvalidInput
from services.chassis.images import MAX_FILE_BYTES, ImageRefused
from services.scheduler.adapters.obstore_uploads import ObstoreUploads
from services.scheduler.domain.upload import Upload, UploadNotFound, UploadsFull
from tests.unit.scheduler.images_bench import Desk, a_desk, a_png, data_uri


@pytest.fixture
async def desk(tmp_path, open_database_of_all):
    async with a_desk(tmp_path, open_database_of_all) as desk:
        yield desk


async def test_an_upload_stands_for_the_very_bytes_that_were_sent(desk: Desk):
    data = a_png()
    upload = await desk.uploads.create("ann", "image/png", data)
    assert (upload.media_type, upload.width, upload.height, upload.size_bytes) == ("image/png", 20, 10, len(data))
    assert upload.sha256 == hashlib.sha256(data).hexdigest()
    assert upload.expires_at - upload.created_at == timedelta(days=1)
    assert upload.uri == f"forge-upload://{upload.id}"
    assert await desk.images.resolved(upload.uri, "ann") == data_uri(data)
    assert await desk.uploads.get("ann", upload.id) == upload


@pytest.mark.parametrize("media_type", ["", "application/octet-stream"])
async def test_a_file_whose_kind_nobody_tells_is_known_by_how_it_begins(desk: Desk, media_type):
    assert (await desk.uploads.create("ann", media_type, a_png())).media_type == "image/png"


@pytest.mark.parametrize(
    ("media_type", "data", "says"),
    [
        ("image/png", b"", "is empty"),
        ("", b"GIF89a", "is no image of a known kind"),
        ("image/gif", b"GIF89a", "must have as its media type one of: image/png"),
        ("image/jpeg", a_png(), "is not what its media type image/jpeg says: it begins like image/png"),
        ("image/png", a_png()[:45], "is damaged or incomplete"),
        ("image/png", a_png(size=(9000, 8)), "must have at most 8192 px a side"),
        ("image/png", a_png()[:8] + bytes(MAX_FILE_BYTES), "must have at most 16 MiB"),
    ],
    ids=["nothing", "no image", "a gif", "another kind", "cut short", "too wide", "too large"],
)
async def test_a_file_that_cannot_be_used_is_refused_at_once_and_not_kept(desk: Desk, media_type, data, says):
    with pytest.raises(InvalidInput) as caught:
        await desk.uploads.create("ann", media_type, data)
    ((violation),) = caught.value.violations
    assert violation.field == "file"
    assert says in violation.description
    assert desk.kept() == []


async def test_what_another_account_has_is_as_little_there_as_what_nobody_has(desk: Desk):
    upload = await desk.uploads.create("ann", "", a_png())
    said = set()
    for account, uri in (
        ("bob", upload.uri),
        ("bob", "forge-upload://upl_none"),
        ("ann", "forge-upload://../s.sqlite3"),
    ):
        with pytest.raises(ImageRefused) as caught:
            await desk.images.resolved(uri, account)
        said.add(str(caught.value))
    assert len(said) == 1
    for ask in (desk.uploads.get, desk.uploads.delete):
        with pytest.raises(UploadNotFound):
            await ask("bob", upload.id)
    assert list(await desk.uploads.list("bob")) == []
    assert list(await desk.uploads.list("ann")) == [upload]


async def test_an_upload_expires_and_leaves_nothing(desk: Desk):
    old = await desk.uploads.create("ann", "", a_png())
    desk.clock.pass_by(hours=23)
    new = await desk.uploads.create("ann", "", a_png("blue"))
    desk.clock.pass_by(hours=1)
    assert list(await desk.uploads.list("ann")) == [new]
    with pytest.raises(ImageRefused, match="not there, or not any more"):
        await desk.images.resolved(old.uri, "ann")
    await desk.tidied()
    assert desk.kept() == [new.id]


async def test_a_deleted_upload_is_gone_with_its_bytes(desk: Desk):
    upload = await desk.uploads.create("ann", "", a_png())
    await desk.uploads.delete("ann", upload.id)
    assert desk.kept() == []
    with pytest.raises(UploadNotFound):
        await desk.uploads.delete("ann", upload.id)


async def test_an_account_keeps_so_many_files_and_no_more(tmp_path, open_database_of_all):
    async with a_desk(tmp_path, open_database_of_all, max_count=2) as desk:
        first = await desk.uploads.create("ann", "", a_png())
        desk.clock.pass_by(hours=1)
        await desk.uploads.create("ann", "", a_png())
        with pytest.raises(UploadsFull) as caught:
            await desk.uploads.create("ann", "", a_png())
        assert caught.value.metadata == {"quota": "max_uploads"}
        assert caught.value.retry_after_seconds == 23 * 3600
        await desk.uploads.create("bob", "", a_png())
        await desk.uploads.delete("ann", first.id)
        await desk.uploads.create("ann", "", a_png())


async def test_an_account_keeps_so_many_bytes_and_no_more(tmp_path, open_database_of_all):
    data = a_png()
    async with a_desk(tmp_path, open_database_of_all, max_bytes=2 * len(data)) as desk:
        for _ in range(2):
            await desk.uploads.create("ann", "", data)
        with pytest.raises(UploadsFull) as caught:
            await desk.uploads.create("ann", "", data)
        assert caught.value.metadata == {"quota": "max_upload_bytes"}


async def test_many_at_once_do_not_slip_past_the_limit(tmp_path, open_database_of_all):
    async with a_desk(tmp_path, open_database_of_all, max_count=3) as desk:
        sent = [desk.uploads.create("ann", "", a_png()) for _ in range(12)]
        made = await asyncio.gather(*sent, return_exceptions=True)
        assert sum(not isinstance(one, BaseException) for one in made) == 3
        assert all(isinstance(one, UploadsFull) for one in made if isinstance(one, BaseException))
        assert len(desk.kept()) == 3


@pytest.mark.parametrize("in_its_place", ["link", "other bytes", "more bytes", "nothing"])
async def test_what_lies_in_place_of_an_upload_is_not_taken_for_it(desk: Desk, in_its_place):
    upload = await desk.uploads.create("ann", "", a_png())
    file = desk.objects / "uploads" / upload.id
    secret = desk.objects.parent / "secret"
    secret.write_bytes(bytes(upload.size_bytes))
    file.unlink()
    if in_its_place == "link":
        file.symlink_to(secret)
    elif in_its_place == "other bytes":
        file.write_bytes(bytes(upload.size_bytes))
    elif in_its_place == "more bytes":
        file.write_bytes(a_png() + b" ")
    with pytest.raises(ImageRefused, match="send the file again"):
        await desk.images.resolved(upload.uri, "ann")


async def test_bytes_that_a_crash_has_left_are_swept_away_and_young_ones_are_not(desk: Desk):
    upload = await desk.uploads.create("ann", "", a_png())
    stray = desk.objects / "uploads" / "upl_stray"
    stray.write_bytes(b"x")
    await desk.tidied()
    assert desk.kept() == [upload.id, "upl_stray"]
    desk.clock.pass_by(hours=2)
    await desk.tidied()
    assert desk.kept() == [upload.id]


async def test_an_image_that_was_fine_is_not_decoded_again(desk: Desk, monkeypatch):
    upload = await desk.uploads.create("ann", "", a_png())

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("services.chassis.darkroom.Darkroom.size", never)  # what must not happen has no other trace
    assert await desk.images.resolved(upload.uri, "ann") == await desk.images.resolved(data_uri(a_png()), "ann")


async def test_before_anybody_asks_for_a_render_nothing_is_looked_up(desk: Desk):
    assert await desk.images.resolved("forge-upload://upl_any", None) == "forge-upload://upl_any"
    with pytest.raises(ImageRefused, match="damaged"):
        await desk.images.resolved(data_uri(a_png()[:45]), None)


@pytest.mark.parametrize(
    "value", ["", "upl_0001", "file:///etc/passwd", "ftp://a.example/a.png", "FORGE-upload://upl_0001"]
)
async def test_what_is_neither_is_told_what_there_is(desk: Desk, value):
    with pytest.raises(ImageRefused, match=r"must be a data URI: .*, or an upload: forge-upload://"):
        await desk.images.resolved(value, "ann")


async def test_an_address_is_refused_where_none_is_fetched_with_what_to_do_instead(desk: Desk):
    for url in ("https://a.example/a.png", "http://127.0.0.1/", "HTTPS://a.example"):
        with pytest.raises(ImageRefused, match=r"this installation fetches none\. Send the file to /v1/uploads"):
            await desk.images.resolved(url, "ann")


async def test_bytes_are_kept_found_by_age_and_removed_wherever_objects_lie(objects):
    files, data = ObstoreUploads(objects), a_png()
    upload = Upload(
        id="upl_1",
        account="ann",
        media_type="image/png",
        width=20,
        height=10,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        created_at=datetime.now(UTC),
        expires_at=datetime.now(UTC),
    )
    await files.put(upload.id, data)
    assert await files.get(upload) == data
    assert await files.get(replace(upload, sha256="0" * 64)) is None
    soon = datetime.now(UTC) + timedelta(seconds=5)
    assert [found async for ids in files.kept_before(soon - timedelta(hours=1)) for found in ids] == []
    assert [found async for ids in files.kept_before(soon) for found in ids] == [upload.id]
    await files.remove([upload.id, "upl_unknown"])
    assert await files.get(upload) is None
