"""Images as inputs name them: in the request itself, sent beforehand, or somewhere else."""

from services.chassis.images import ImageRefused
from services.scheduler.domain.upload import SCHEME
from services.scheduler.image_ports import ImageDecoding, RemoteImages
from services.scheduler.usecases.uploads import Uploads


class Images:
    """Puts the image itself in place of what an input says, so that no render depends on what may change or go away."""

    def __init__(self, *, decoding: ImageDecoding, uploads: Uploads, remote: RemoteImages | None) -> None:
        """Without `remote` nothing is fetched from other hosts."""
        self._decoding = decoding
        self._uploads = uploads
        self._remote = remote

    async def resolved(self, value: str, account: str | None) -> str:
        """A data URI of an image that can be decoded."""
        if value.startswith(SCHEME):
            return value if account is None else await self._uploaded(value, account)
        if value[:8].lower().startswith(("https://", "http://")):
            return await self._fetched(value, account)
        if value[:5].lower() != "data:":
            raise ImageRefused(f"must be a data URI: data:image/png;base64,…, or an upload: {SCHEME}upl_…")
        await self._decoding.check(value)
        return value

    async def _uploaded(self, uri: str, account: str) -> str:
        file = await self._uploads.file(account, uri)
        if file is None:  # one of another account is as little there as one that never was
            raise ImageRefused("names an upload that is not there, or not any more: send the file again to /v1/uploads")
        return file.as_data_uri()

    async def _fetched(self, url: str, account: str | None) -> str:
        if self._remote is None:
            raise ImageRefused(
                "must not be an address: this installation fetches none. Send the file to /v1/uploads, or as a data URI"
            )
        if account is None:
            return url
        file = await self._remote.fetch(url, account)
        await self._decoding.size(file)
        return file.as_data_uri()
