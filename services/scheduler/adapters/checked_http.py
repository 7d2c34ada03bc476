"""HTTP to strangers: to the addresses they may have, and to no others."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from types import TracebackType

import httpx

from services.scheduler.domain.remote_address import Address, Endpoint, UrlRefused, may_reach, permitted

CONNECT_SECONDS = 3.0
"""How long one address of a host may take to connect, so that a dead one leaves time for the next."""

_MAX_ADDRESSES = 3
_MAX_LOOKUPS = 64  # a name server that answers slowly holds a thread, longer than anybody waits for it

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses a host has now, the preferred one first. Raises OSError."""


class CheckedHttp:
    """Requests over HTTP/1.1. A host is looked up once for a request, which goes to an address that was checked.

    Redirects are not followed, no cookies are kept, nothing is unpacked, and no proxy of the environment is used. Each
    request has a connection of its own: one is never shared by hosts that happen to have the same address.
    """

    def __init__(
        self,
        *,
        to_private_addresses: bool,
        timeout_seconds: float,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._to_private = to_private_addresses
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = min(timeout_seconds, CONNECT_SECONDS)
        self._resolve = resolve or self._look_up
        self._threads = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="names")
        # The transport and not a client: it has no cookies, redirects and logs that would have to be switched off.
        self._transport = httpx.AsyncHTTPTransport(
            verify=trust or httpx.create_ssl_context(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> "CheckedHttp":
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._transport.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def answer(
        self, method: str, endpoint: Endpoint, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[httpx.Response]:
        """The answer to one request, its body not read yet. Look-up, request and the block have the timeout together.

        Raises UrlRefused when the host has an address that may not be reached, and what `problem_with` has words for.
        """
        async with asyncio.timeout(self._timeout_seconds):
            response = await self._send(method, endpoint, await self._checked(endpoint), headers, body)
            try:
                yield response
            finally:
                await response.aclose()

    def problem_with(self, error: Exception) -> str:
        """In words, why a request came to no answer."""
        match error:
            case httpx.ConnectTimeout():
                return f"no connection within {self._connect_seconds:g} s"
            case TimeoutError() | httpx.TimeoutException():
                return f"no answer within {self._timeout_seconds:g} s"
            case httpx.ConnectError():
                return _why_not_connected(error)
            case httpx.HTTPError():
                return "the connection broke before there was an answer"
        return "the host's name cannot be resolved"

    async def _checked(self, endpoint: Endpoint) -> Sequence[Address]:
        """The addresses of a host, if all of them may be reached. Raises UrlRefused, OSError."""
        addresses = [ip_address(found) for found in await self._resolve(endpoint.host, endpoint.port)]
        if not all(may_reach(address, endpoint.scheme, to_private=self._to_private) for address in addresses):
            # Without the address: names of a network that is not theirs would tell strangers about it.
            raise UrlRefused(f"must lead to {permitted(endpoint.scheme, to_private=self._to_private)}")
        if not addresses:
            raise OSError("no addresses")
        return addresses[:_MAX_ADDRESSES]

    async def _send(
        self, method: str, endpoint: Endpoint, addresses: Sequence[Address], headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Send to the first address that takes connections."""
        *others, last = addresses
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent
                return await self._send_to(address, method, endpoint, headers, body)
        return await self._send_to(last, method, endpoint, headers, body)

    async def _send_to(
        self, address: Address, method: str, endpoint: Endpoint, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        timeout = httpx.Timeout(self._timeout_seconds, connect=self._connect_seconds)
        request = httpx.Request(
            method,
            httpx.URL(scheme=endpoint.scheme, host=str(address), port=endpoint.port, raw_path=endpoint.target.encode()),
            headers={**headers, "host": endpoint.authority},
            content=body,
            # The certificate must be that of the host, although the connection is to its address.
            extensions={"timeout": timeout.as_dict(), "sni_hostname": endpoint.host},
        )
        return await self._transport.handle_async_request(request)

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)


def _why_not_connected(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS could not be agreed on"
        cause = cause.__cause__ or cause.__context__
    return "could not connect"
