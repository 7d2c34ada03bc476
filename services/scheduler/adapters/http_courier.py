"""Deliveries over HTTP, to the addresses they may reach and to no others."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any

import httpx

from services.scheduler.adapters.checked_http import CheckedHttp, Resolve
from services.scheduler.domain.remote_address import UrlRefused, endpoint_of
from services.scheduler.domain.webhook import Answer

TIMEOUT_SECONDS = 10.0
"""How long a message may take from the look-up of its host to the answer."""
MAX_ANSWER_BYTES = 1024
USER_AGENT = "forge-webhooks/1"


class HttpCourier:
    """A Courier over HTTP/1.1, as CheckedHttp has it. Nothing of an answer is kept."""

    def __init__(
        self,
        *,
        to_private_addresses: bool,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._to_private = to_private_addresses
        self._http = CheckedHttp(
            to_private_addresses=to_private_addresses, timeout_seconds=timeout_seconds, resolve=resolve, trust=trust
        )

    async def __aenter__(self) -> "HttpCourier":
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one message, once. Whatever the receiver does is an answer."""
        try:
            endpoint = endpoint_of(url, to_private=self._to_private)
            async with self._http.answer("POST", endpoint, {**headers, "user-agent": USER_AGENT}, body) as response:
                await _skim(response)
                return Answer(status=response.status_code, retry_after=response.headers.get("retry-after", ""))
        except UrlRefused as refusal:
            return Answer(problem=f"not sent: the URL {refusal}")
        except (httpx.HTTPError, OSError) as error:  # a timeout is an OSError
            return Answer(problem=self._http.problem_with(error))


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
