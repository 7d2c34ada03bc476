"""Where objects lie: in a folder of this machine, or in a bucket of an S3-compatible store.

A bucket's keys are in the variables that every tool for S3 reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
others; obstore reads them.
"""

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, MemoryStore, ObjectStore, S3Store, from_url

from services.chassis.config import ChassisSettings
from services.chassis.errors import ServiceUnavailable
from services.chassis.strict_yaml import ConfigurationInvalid

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = structlog.get_logger()

PART_BYTES = 8 * 2**20
"""Larger objects go to a bucket in parts of so many bytes: each is tried again by itself, and none takes too long."""
_PARTS_AT_ONCE = 4
_MEDIA_TYPES = {"mp4": "video/mp4", "webp": "image/webp"}
_REQUEST_SECONDS, _CONNECT_SECONDS = 30, 5
_MOST_RETRIES, _RETRY_SECONDS, _CHECK_SECONDS = 5, 10, 5


def object_store(settings: ChassisSettings) -> ObjectStore:
    """The store of FORGE_OBJECTS_URL; a folder is made when it is missing. A bucket answers within 45 s or fails."""
    if not settings.has_bucket:
        return from_url(settings.objects_url, mkdir=True)
    config: S3Config = {"region": settings.s3_region}
    client: ClientConfig = {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
    }
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
        client["allow_http"] = settings.s3_endpoint.startswith("http://")  # somebody has written so
    retries: RetryConfig = {
        "max_retries": _MOST_RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    return S3Store.from_url(settings.objects_url, config=config, client_options=client, retry_config=retries)


async def put_object(store: ObjectStore, key: str, content: bytes) -> None:
    """Write an object, whole or not at all, in place of one of that key. Raises what the store raises.

    On a disk that is a rename; in a bucket one request, or parts that become an object together.
    """
    if isinstance(store, LocalStore | MemoryStore):  # which keep no attributes
        await obstore.put_async(store, key, content, use_multipart=False)
        return
    media_type = _MEDIA_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
    await obstore.put_async(
        store,
        key,
        content,
        attributes={"Content-Type": media_type},
        use_multipart=len(content) > PART_BYTES,
        chunk_size=PART_BYTES,
        max_concurrency=_PARTS_AT_ONCE,
    )


def store_failed(error: Exception) -> ServiceUnavailable:
    """What callers are told when a store fails, whatever it says; what that was goes to the log."""
    log.warning("the object store failed", error=type(error).__qualname__)
    return ServiceUnavailable("the object store")


async def check_objects(store: ObjectStore) -> str | None:
    """Write, find, read and remove a small object of a bucket; why that may work later, None where it works now.

    Raises ConfigurationInvalid where somebody has to change something first.
    """
    if not isinstance(store, S3Store):
        return None
    place = f"bucket {store.config.get('bucket')} at {store.config.get('endpoint', 'Amazon')}"
    key, content = f"checks/{secrets.token_hex(8)}", secrets.token_bytes(16)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await put_object(store, key, content)
            listed = [found["path"] async for some in obstore.list(store, prefix="checks/") for found in some]
            read = bytes(await (await obstore.get_async(store, key)).bytes_async())
            await obstore.delete_async(store, key)
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise _wrong(
            f"{place} refuses the keys of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: they must be right, and be let "
            "read, write, list and remove objects there"
        ) from error
    except FileNotFoundError as error:
        raise _wrong(f"{place} is not there: make it, or name another") from error
    except TimeoutError:
        return f"{place} does not answer within {_CHECK_SECONDS} s"
    except BaseError as error:
        return f"{place} does not answer as it should ({type(error).__name__})"
    if key not in listed or read != content:
        raise _wrong(f"{place} does not give back what was put there")
    return None


def _wrong(what: str) -> ConfigurationInvalid:
    return ConfigurationInvalid([f"FORGE_OBJECTS_URL: {what}"])
