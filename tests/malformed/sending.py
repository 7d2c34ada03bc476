"""Sends malformed requests to a platform, many at a time, and tells how each was answered."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack

import httpx
from grpc import StatusCode, aio

from tests import wire
from tests.malformed.cases import KEY, Case

_AT_ONCE = 12
_PATIENCE_SECONDS = 0.4
"""How long an answer is waited for: many requests never end, and nothing need come."""
_REFUSED = -1
_NAMES = {0: "nothing", _REFUSED: "refused"}
"""Stands for the end of a stream or connection of HTTP/2."""

WRONG_STATUSES = frozenset({500, 501, 502, 503, 505})
WRONG_CODES = frozenset({StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS, StatusCode.UNAVAILABLE})


class Sender:
    """Sends cases to "host:port" with a key. `answers` counts what came back, `wrong` has what nobody should get."""

    def __init__(self, address: str, key: str) -> None:
        self.answers: Counter[str] = Counter()
        self.wrong: list[tuple[Case, str]] = []
        self._address = address
        self._key = key

    async def send(self, cases: Iterable[Case]) -> None:
        """Send every case, several at a time."""
        waiting = iter(cases)
        async with AsyncExitStack() as stack:
            options = [("grpc.max_send_message_length", -1)]
            self._channel = await stack.enter_async_context(aio.insecure_channel(self._address, options=options))
            limits = httpx.Limits(max_connections=None)
            base = f"http://{self._address}"
            self._client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, limits=limits, timeout=10))

            async def lane() -> None:
                for case in waiting:
                    self._note(case, await self._sent(case))

            await asyncio.gather(*(lane() for _ in range(_AT_ONCE)))

    async def _sent(self, case: Case) -> int | StatusCode:
        """The status that came back; 0 for none."""
        payload = case.payload.replace(KEY, self._key.encode())
        match case.kind:
            case "http1":
                return (await wire.exchange(self._address, payload, patience_seconds=_PATIENCE_SECONDS)).status
            case "http2":
                return await self._over_http2(payload)
            case "json":
                return await self._as_json(case.target, payload)
            case _:
                return await self._over_grpc(case.target, payload)

    async def _over_http2(self, payload: bytes) -> int:
        async with wire.http2(self._address) as link:
            await link.send(payload)
            answer = await link.until(wire.HEADERS, wire.RST_STREAM, wire.GOAWAY, patience_seconds=_PATIENCE_SECONDS)
            return 0 if answer is None else answer.status or _REFUSED

    async def _as_json(self, target: str, payload: bytes) -> int:
        method, _, path = target.partition(" ")
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        url = httpx.URL(f"http://{self._address}").copy_with(raw_path=path.encode())
        try:
            async with self._client.stream(method, url, content=payload, headers=headers, timeout=5) as answer:
                return answer.status_code
        except (httpx.ReadTimeout, httpx.RemoteProtocolError):
            return 0

    async def _over_grpc(self, path: str, payload: bytes) -> StatusCode:
        metadata = (("authorization", f"Bearer {self._key}"),)
        call = self._channel.unary_stream(path)(payload, metadata=metadata, timeout=5)
        try:
            async for _ in call:
                pass
        except aio.AioRpcError as error:
            return error.code()
        return StatusCode.OK

    def _note(self, case: Case, answer: int | StatusCode) -> None:
        name = answer.name if isinstance(answer, StatusCode) else _NAMES.get(answer, str(answer))
        self.answers[f"{case.kind} {name}"] += 1
        if answer in WRONG_STATUSES or answer in WRONG_CODES:
            self.wrong.append((case, name))
