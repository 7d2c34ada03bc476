"""Image files on their way to the API: small ones go within a request, large ones before it."""

from pathlib import Path

from forge.scheduler.v1.upload_pb2 import Upload
from forge.scheduler.v1.upload_service_pb2 import CreateUploadRequest

from forge_cli.client import Client
from forge_cli.failures import CommandFailed
from forge_cli.inputs import read_image

WITHIN_A_REQUEST_BYTES = 8 * 2**20
"""What goes as a data URI, a third larger, into a body of at most 16 MiB."""
MOST_BYTES = 16 * 2**20


async def upload(client: Client, path: Path) -> Upload:
    """Send an image file beforehand. CommandFailed, RequestFailed."""
    if _is_larger(path, MOST_BYTES):
        raise CommandFailed(f"{path} is too large", hints=[f"an image has at most {MOST_BYTES // 2**20} MiB"])
    media_type, data = read_image(path)
    request = CreateUploadRequest()
    request.file.content_type, request.file.data = media_type, data
    return await client.call(client.uploads.CreateUpload, request)


async def sent_if_large(client: Client, image: Path | None) -> Path | str | None:
    """What an input says of an image file: where it was uploaded when it is too large to go within a request."""
    return (await upload(client, image)).uri if image and _is_larger(image, WITHIN_A_REQUEST_BYTES) else image


def _is_larger(image: Path, size_bytes: int) -> bool:
    try:
        return image.stat().st_size > size_bytes
    except OSError:
        return False  # whoever reads it says what is wrong
