"""Uploads as their owners see them."""

from collections.abc import Iterable

from forge.scheduler.v1 import upload_pb2, upload_service_pb2

from services.chassis.wire import timestamp
from services.scheduler.domain.upload import Upload


def upload_to_proto(upload: Upload) -> upload_pb2.Upload:
    """An upload."""
    return upload_pb2.Upload(
        id=upload.id,
        uri=upload.uri,
        media_type=upload.media_type,
        width=upload.width,
        height=upload.height,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        created_at=timestamp(upload.created_at),
        expires_at=timestamp(upload.expires_at),
    )


def uploads_to_proto(uploads: Iterable[Upload]) -> upload_service_pb2.ListUploadsResponse:
    """All uploads of an account."""
    return upload_service_pb2.ListUploadsResponse(uploads=[upload_to_proto(upload) for upload in uploads])
