"""Images on other hosts, fetched over HTTP: once, from an address that was checked, and no more than fits."""

import asyncio
import ssl
from collections.abc import Sequence
from types import TracebackType
from weakref import WeakValueDictionary

import httpx

from services.chassis.images import MAX_FILE_BYTES, ImageFile, ImageRefused, known_media_type, sniffed
from services.scheduler.adapters.checked_http import CheckedHttp, Resolve
from services.scheduler.domain.remote_address import Endpoint, UrlRefused, endpoint_of

TIMEOUT_SECONDS = 10.0
"""How long an image may take from the look-up of its host to its last byte."""
AT_ONCE_PER_ACCOUNT = 4
"""How many images are fetched for an account at once; others wait for their turn."""
USER_AGENT = "forge-images/1"

_HEADERS = {"accept": "image/png, image/jpeg, image/webp", "accept-encoding": "identity", "user-agent": USER_AGENT}
_REDIRECTS = range(300, 400)


class HttpImages:
    """RemoteImages over HTTP/1.1, from the hosts that are allowed: names, "*.name" for those below one, "*" for all."""

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        to_private_addresses: bool,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._hosts = [host.lower() for host in hosts]
        self._to_private = to_private_addresses
        self._http = CheckedHttp(
            to_private_addresses=to_private_addresses, timeout_seconds=timeout_seconds, resolve=resolve, trust=trust
        )
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """By account."""

    async def __aenter__(self) -> "HttpImages":
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def fetch(self, url: str, account: str) -> ImageFile:
        """The image at an address now. What is wrong with the address or its host is told without the address."""
        try:
            endpoint = endpoint_of(url, to_private=self._to_private)
            if not any(_allows(host, endpoint.host) for host in self._hosts):
                raise ImageRefused("must be on one of the hosts that this installation fetches from")
            async with self._turns.setdefault(account, asyncio.Semaphore(AT_ONCE_PER_ACCOUNT)):
                return await self._image_at(endpoint)
        except UrlRefused as refusal:
            raise ImageRefused(f"cannot be fetched: the URL {refusal}") from None
        except (httpx.HTTPError, OSError) as error:  # a timeout is an OSError
            raise ImageRefused(f"cannot be fetched: {self._http.problem_with(error)}") from None

    async def _image_at(self, endpoint: Endpoint) -> ImageFile:
        async with self._http.answer("GET", endpoint, _HEADERS) as response:
            if response.status_code in _REDIRECTS:
                raise ImageRefused("cannot be fetched: its host sends on to another address; give that one")
            if response.status_code != httpx.codes.OK:
                raise ImageRefused(f"cannot be fetched: its host answers {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise ImageRefused("cannot be fetched: its host sends it compressed")
            media_type = known_media_type(
                response.headers.get("content-type", ""), "is not an image: its host must send it as one of"
            )
            data = await _read(response)
        if sniffed(data) != media_type:
            raise ImageRefused(f"is not what its host says: its bytes are no {media_type}")
        return ImageFile(media_type, data)


def _allows(allowed: str, host: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return allowed in ("*", host)


async def _read(response: httpx.Response) -> bytes:
    """The body, if it is no larger than a file may be: what is said of its size is not relied on."""
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise ImageRefused(f"must have at most {MAX_FILE_BYTES // 2**20} MiB")
        parts.append(part)
    return b"".join(parts)
