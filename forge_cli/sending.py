"""Image files on their way to the API: small ones go within a request, large ones before it."""

from pathlib import Path

from forge.scheduler.v1.upload_pb2 import Upload
from forge.scheduler.v1.upload_service_pb2 import CreateUploadRequest

from forge_cli.client import Client
from forge_cli.failures import CommandFailed
from forge_cli.inputs import sniff

WITHIN_A_REQUEST_BYTES = 8 * 2**20
"""What goes as a data URI, a third larger, into a body of at most 16 MiB."""
MOST_BYTES = 16 * 2**20


def read_image(path: Path) -> tuple[str, bytes]:
    """The media type and the bytes of an image file. CommandFailed."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CommandFailed(f"{path} is too large", hints=[f"an image has at most {MOST_BYTES // 2**20} MiB"])
        data = path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error
    media_type = sniff(data)
    if media_type is None:
        raise CommandFailed(f"{path} is no image of a known kind", hints=["use PNG, JPEG, WebP or PPM"])
    return media_type, data


async def upload(client: Client, path: Path) -> Upload:
    """Send an image file beforehand. CommandFailed, RequestFailed."""
    media_type, data = read_image(path)
    request = CreateUploadRequest()
    request.file.content_type, request.file.data = media_type, data
    return await client.call(client.uploads.CreateUpload, request)


async def sent_if_large(client: Client, image: Path | None) -> Path | str | None:
    """What an input says of an image file: where it was uploaded when it is too large to go within a request."""
    return (await upload(client, image)).uri if image and _is_large(image) else image


def _is_large(image: Path) -> bool:
    try:
        return image.stat().st_size > WITHIN_A_REQUEST_BYTES
    except OSError:
        return False  # whoever reads it says what is wrong
