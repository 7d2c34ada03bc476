"""Uploads as their owners see them, and the loop that removes what has expired."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, ServiceUnavailable, Violation
from services.chassis.images import MAX_FILE_BYTES, ImageFile, ImageRefused, known_media_type, sniffed
from services.scheduler.domain.upload import Upload, UploadLimits, UploadNotFound, UploadsFull, id_in
from services.scheduler.image_ports import Held, ImageDecoding, UploadFiles, UploadStore

log = structlog.get_logger()

TIDY_SECONDS = 60.0
"""How often it is looked for what has expired."""
STRAY_AGE = timedelta(hours=1)
"""Bytes that nothing is known of after so long belong to nobody: a crash came between them and their row."""

_UNTOLD = ("", "application/octet-stream")


class Uploads:
    """Images that accounts send beforehand."""

    def __init__(
        self,
        *,
        store: UploadStore,
        files: UploadFiles,
        decoding: ImageDecoding,
        clock: Clock,
        limits: UploadLimits,
        new_id: Callable[[str], str],
    ) -> None:
        self._store = store
        self._files = files
        self._decoding = decoding
        self._clock = clock
        self._limits = limits
        self._new_id = new_id

    async def create(self, account: str, media_type: str, data: bytes) -> Upload:
        """Keep an image. Raises InvalidInput, UploadsFull, ServiceUnavailable."""
        try:
            file = _file(media_type, data)
            self._refuse_when_full(await self._store.held(account, self._clock.now()), len(data))
            size = await self._decoding.size(file)
        except ImageRefused as refusal:
            raise InvalidInput([Violation("file", str(refusal))]) from None
        now, limits = self._clock.now(), self._limits
        upload = Upload(
            id=self._new_id("upl"),
            account=account,
            media_type=file.media_type,
            width=size.width,
            height=size.height,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            created_at=now,
            expires_at=now + limits.ttl,
        )
        await self._files.put(upload.id, data)
        held = await self._store.add(upload, max_count=limits.max_count, max_bytes=limits.max_bytes)
        if held is not None:  # another one was faster
            await self._files.remove([upload.id])
            self._refuse_when_full(held, len(data))
        log.info("upload kept", upload_id=upload.id, account=account, size_bytes=len(data))
        return upload

    async def list(self, account: str) -> Sequence[Upload]:
        """The account's uploads, newest first."""
        return await self._store.list(account, self._clock.now())

    async def get(self, account: str, upload_id: str) -> Upload:
        """An upload of the account. Raises UploadNotFound."""
        found = await self._store.get(account, upload_id, self._clock.now())
        if found is None:
            raise UploadNotFound(upload_id)
        return found

    async def file(self, account: str, uri: str) -> ImageFile | None:
        """The image that a URI names, if the account has it."""
        found = await self._store.get(account, id_in(uri), self._clock.now())
        data = await self._files.get(found) if found else None
        return ImageFile(found.media_type, data) if found and data is not None else None

    async def delete(self, account: str, upload_id: str) -> None:
        """Remove an upload. Raises UploadNotFound."""
        if not await self._store.remove(account, upload_id, self._clock.now()):
            raise UploadNotFound(upload_id)
        await self._files.remove([upload_id])
        log.info("upload deleted", upload_id=upload_id, account=account)

    async def tidy(self) -> None:
        """Remove what has expired, until canceled; first of all, what crashes have left."""
        is_swept = False
        while True:
            try:
                if not is_swept:
                    await self._sweep()
                    is_swept = True
                while expired := await self._store.remove_expired(self._clock.now()):
                    await self._files.remove(expired)
                    log.info("uploads expired", count=len(expired))
            except ServiceUnavailable as error:
                log.warning("expired uploads must wait", problem=error.message)
            await self._clock.sleep(TIDY_SECONDS)

    async def _sweep(self) -> None:
        async for ids in self._files.kept_before(self._clock.now() - STRAY_AGE):
            known = await self._store.known(ids)
            if strays := [upload_id for upload_id in ids if upload_id not in known]:
                await self._files.remove(strays)
                log.info("stray uploads removed", count=len(strays))

    def _refuse_when_full(self, held: Held, size_bytes: int) -> None:
        limits, now = self._limits, self._clock.now()
        seconds = max(1.0, (held.first_expires_at - now).total_seconds()) if held.first_expires_at else 1.0
        if held.count + 1 > limits.max_count:
            raise UploadsFull("max_uploads", f"{limits.max_count} files", seconds)
        if held.size_bytes + size_bytes > limits.max_bytes:
            raise UploadsFull("max_upload_bytes", f"{limits.max_bytes / 2**20:.0f} MiB", seconds)


def _file(media_type: str, data: bytes) -> ImageFile:
    """An image that is what it is said to be, as far as its first bytes tell. Raises ImageRefused."""
    if not data:
        raise ImageRefused("is empty: send the bytes of an image")
    if len(data) > MAX_FILE_BYTES:
        raise ImageRefused(f"must have at most {MAX_FILE_BYTES // 2**20} MiB")
    found = sniffed(data)
    if media_type.strip().lower() in _UNTOLD:
        if found is None:
            raise ImageRefused("is no image of a known kind: send a PNG, JPEG, WebP or PPM")
        return ImageFile(found, data)
    told = known_media_type(media_type, "must have as its media type one of")
    if found != told:
        raise ImageRefused(f"is not what its media type {told} says" + (f": it begins like {found}" if found else ""))
    return ImageFile(told, data)
