"""Deliveries over HTTP, to the addresses they may reach and to no others."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Any

import httpx

from services.scheduler.domain.webhook import Answer
from services.scheduler.domain.webhook_address import (
    Address,
    Endpoint,
    UrlRefused,
    endpoint_of,
    may_reach,
    permitted,
)

TIMEOUT_SECONDS = 10.0
"""How long a message may take from the look-up of its host to the answer."""
CONNECT_SECONDS = 3.0
"""How long one address of a host may take to connect, so that a dead one leaves time for the next."""
MAX_ANSWER_BYTES = 1024
USER_AGENT = "forge-webhooks/1"

_MAX_ADDRESSES = 3
_MAX_LOOKUPS = 64  # a name server that answers slowly holds a thread, longer than anybody waits for it

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses a host has now, the preferred one first. Raises OSError."""


class HttpCourier:
    """A Courier over HTTP/1.1. A host is looked up once for a message, which goes to an address that was checked.

    Redirects are not followed, nothing of an answer is kept, no cookies, and no proxy of the environment is used. Each
    message has a connection of its own: one is never shared by receivers that happen to have the same address.
    """

    def __init__(
        self,
        *,
        to_private_addresses: bool,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._to_private = to_private_addresses
        self._resolve = resolve or self._look_up
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = min(timeout_seconds, CONNECT_SECONDS)
        self._threads = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="webhook-names")
        # The transport and not a client: it has no cookies, redirects and logs that would have to be switched off.
        self._transport = httpx.AsyncHTTPTransport(
            verify=trust or httpx.create_ssl_context(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> "HttpCourier":
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._transport.__aexit__(kind, error, traceback)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one message, once. Whatever the receiver does is an answer."""
        try:
            endpoint = endpoint_of(url, to_private=self._to_private)
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(endpoint, await self._checked(endpoint), headers, body)
        except UrlRefused as refusal:
            return Answer(problem=f"not sent: the URL {refusal}")
        except httpx.ConnectTimeout:
            return Answer(problem=f"no connection within {self._connect_seconds:g} s")
        except (TimeoutError, httpx.TimeoutException):
            return Answer(problem=f"no answer within {self._timeout_seconds:g} s")
        except httpx.ConnectError as error:
            return Answer(problem=_why_not_connected(error))
        except httpx.HTTPError:
            return Answer(problem="the connection broke before there was an answer")
        except OSError:
            return Answer(problem="the host's name cannot be resolved")

    async def _checked(self, endpoint: Endpoint) -> Sequence[Address]:
        """The addresses of a host, if all of them may be reached. Raises UrlRefused, OSError."""
        addresses = [ip_address(found) for found in await self._resolve(endpoint.host, endpoint.port)]
        if not all(may_reach(address, endpoint.scheme, to_private=self._to_private) for address in addresses):
            # Without the address: names of a network that is not theirs would tell strangers about it.
            raise UrlRefused(f"must lead to {permitted(endpoint.scheme, to_private=self._to_private)}")
        return addresses[:_MAX_ADDRESSES]

    async def _send(
        self, endpoint: Endpoint, addresses: Sequence[Address], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Send to the first address that takes connections."""
        *others, last = addresses
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent
                return await self._send_to(address, endpoint, headers, body)
        return await self._send_to(last, endpoint, headers, body)

    async def _send_to(self, address: Address, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Answer:
        timeout = httpx.Timeout(self._timeout_seconds, connect=self._connect_seconds)
        request = httpx.Request(
            "POST",
            httpx.URL(scheme=endpoint.scheme, host=str(address), port=endpoint.port, raw_path=endpoint.target.encode()),
            headers={**headers, "host": endpoint.authority, "user-agent": USER_AGENT},
            content=body,
            # The certificate must be that of the host, although the connection is to its address.
            extensions={"timeout": timeout.as_dict(), "sni_hostname": endpoint.host},
        )
        response = await self._transport.handle_async_request(request)
        try:
            await _skim(response)
            return Answer(status=response.status_code, retry_after=response.headers.get("retry-after", ""))
        finally:
            await response.aclose()

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)


async def _skim(response: httpx.Response) -> None:
    """Let the receiver say a little, so that a short answer ends in order. How it ends makes no difference."""
    read = 0
    with suppress(httpx.HTTPError, TimeoutError):
        said: Any = response.aiter_raw(MAX_ANSWER_BYTES)  # a generator in fact, which its type keeps to itself
        async with asyncio.timeout(1), aclosing(said) as parts:
            async for part in parts:
                read += len(part)
                if read >= MAX_ANSWER_BYTES:
                    return


def _why_not_connected(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS could not be agreed on"
        cause = cause.__cause__ or cause.__context__
    return "could not connect"
