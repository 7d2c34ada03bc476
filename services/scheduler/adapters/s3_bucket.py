"""A bucket of an S3-compatible store: what obstore has no calls for."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.store import S3Store

from services.chassis.objects import store_failed

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = structlog.get_logger()

_CONNECT_SECONDS, _READ_SECONDS = 5, 30


class S3Bucket:
    """VideoAddresses and UnfinishedPuts of a bucket, and of the keys below its prefix.

    Signed addresses begin with `public_endpoint`, where clients reach the store; there are none without it.
    """

    def __init__(self, store: S3Store, *, public_endpoint: str | None = None) -> None:
        self._name = str(store.config.get("bucket"))
        self._prefix = f"{store.prefix}/" if store.prefix else ""
        self._client = _client(store, store.config.get("endpoint"))
        self._public = _client(store, public_endpoint) if public_endpoint else None

    async def address(self, key: str, *, file_name: str, media_type: str, valid_for: timedelta) -> str | None:
        """Where whoever knows it can get an object for a while. Raises ServiceUnavailable."""
        if self._public is None:
            return None
        wanted = {
            "Bucket": self._name,
            "Key": f"{self._prefix}{key}",
            "ResponseContentDisposition": f'attachment; filename="{file_name}"',
            "ResponseContentType": media_type,
        }
        try:  # in a thread: keys that change are asked for
            return await asyncio.to_thread(
                self._public.generate_presigned_url,
                "get_object",
                Params=wanted,
                ExpiresIn=int(valid_for.total_seconds()),
            )
        except (BotoCoreError, ClientError) as error:
            raise store_failed(error) from error

    async def abort(self, *, begun_before: datetime) -> int:
        """Drop the parts of puts that began before a moment and did not end. Raises ServiceUnavailable."""
        try:
            return await asyncio.to_thread(self._abort, begun_before)
        except (BotoCoreError, ClientError) as error:
            raise store_failed(error) from error

    def _abort(self, begun_before: datetime) -> int:
        count = 0
        for page in self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._name, Prefix=self._prefix
        ):
            for found in page.get("Uploads", []):
                key, upload_id, begun_at = found.get("Key"), found.get("UploadId"), found.get("Initiated")
                if key and upload_id and begun_at and begun_at < begun_before:
                    self._drop(key, upload_id)
                    count += 1
        return count

    def _drop(self, key: str, upload_id: str) -> None:
        with suppress(self._client.exceptions.NoSuchUpload):  # it has just ended, one way or the other
            self._client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)


def _client(store: S3Store, endpoint: str | None) -> "S3Client":
    """One that goes where obstore goes, with the keys that it finds where obstore does."""
    client: Any = Session().client(  # whose types are those of every service at once
        "s3",
        endpoint_url=endpoint,
        region_name=store.config.get("region"),
        config=Config(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )
    return client
