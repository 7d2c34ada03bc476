"""Clients: they ask twice, change their minds, lose their connections, and come back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from services.chassis.errors import ForgeError, Kind
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.usecases.scheduler import Scheduler
from tests.simulation.evidence import FINAL, Acknowledged, Evidence, Sight
from tests.simulation.network import Network, NoAnswer
from tests.simulation.record import Record
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.surroundings import SLUG

T = TypeVar("T")

TIMEOUT_SECONDS, PATIENCE_SECONDS = 10.0, 40.0
"""How long an answer may take, and how long a stream may be silent, until a client tries again."""


@dataclass(frozen=True)
class Wish:
    """What one customer is going to do."""

    account: str
    at: float
    key: str
    body: Mapping[str, Any]
    twins: int = 1
    """How many requests are sent at once."""
    infers: bool = False
    """Whether it waits in Infer instead of watching."""
    cancels_after: float | None = None
    watchers: int = 1
    when_paused: str = "continue"
    """continue, branch, cancel or leave."""
    retries: bool = False
    """Whether a render that ended without a video is tried again."""


class GaveUp(Exception):
    """The platform refused the request for good."""


@dataclass
class Customer:
    """One client with one wish."""

    wish: Wish
    host: SchedulerHost
    network: Network
    rng: Random
    evidence: Evidence
    record: Record
    is_refused: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Have the wish granted, or refused."""
        await asyncio.sleep(self.wish.at)
        try:
            if self.wish.infers:
                await self._infer()
                return
            asked = [asyncio.create_task(self._create()) for _ in range(self.wish.twins)]
            render_id = (await asyncio.gather(*asked))[0]
            await self._live_with(render_id)
        except GaveUp as error:
            self.is_refused = True
            self.record(f"{self.wish.key} gave up: {error}")

    async def _live_with(self, render_id: str) -> None:
        """Follow a render to its end, and do what the wish says on the way."""
        tasks: list[asyncio.Task[Any]] = []
        tasks += [asyncio.create_task(self._watch(render_id)) for _ in range(1, self.wish.watchers)]
        if self.wish.cancels_after is not None:
            tasks.append(asyncio.create_task(self._cancel(render_id, self.wish.cancels_after)))
        status = await self._watch(render_id)
        if status == "paused":
            await self._go_on(render_id)
        elif status != "succeeded" and self.wish.retries:
            render = await self._insist("retry", lambda api: api.retry(self.wish.account, render_id))
            self._acknowledged(render, f"retry of {render_id}")
            await self._watch(render.id)
        await asyncio.gather(*tasks)

    async def _go_on(self, render_id: str) -> None:
        account = self.wish.account
        try:
            if self.wish.when_paused == "branch":
                changes, key = {"prompt": "another direction"}, f"{self.wish.key}-branch"
                branch = await self._insist(
                    "branch", lambda api: api.branch(account, render_id, changes, idempotency_key=key)
                )
                self._acknowledged(branch, key)
                await self._watch(branch.id)
            if self.wish.when_paused in ("continue", "branch"):
                await self._insist("continue", lambda api: api.resume(account, render_id, pause_after_step=0))
                await self._watch(render_id, past_pause=True)
            elif self.wish.when_paused == "cancel":
                await self._cancel(render_id, 0.0)
        except GaveUp as error:
            self.record(f"{render_id} was paused and is no more: {error}")

    async def _create(self) -> str:
        wish = self.wish
        render = await self._insist(
            f"create {wish.key}",
            lambda api: api.create(wish.account, wish.body, path_slug=None, idempotency_key=wish.key),
        )
        self._acknowledged(render, wish.key)
        return render.id

    async def _infer(self) -> None:
        wish = self.wish
        while True:
            render = await self._insist(
                f"infer {wish.key}",
                lambda api: api.infer(
                    wish.account,
                    wish.body,
                    path_slug=SLUG,
                    idempotency_key=wish.key,
                    wait_seconds=20,
                    cancel_on_disconnect=False,
                ),
                timeout=self.rng.choice((5.0, 15.0, 30.0)),
            )
            self._acknowledged(render, wish.key)
            if render.is_settled:
                return

    async def _cancel(self, render_id: str, after: float) -> None:
        await asyncio.sleep(after)
        await self._insist(f"cancel {render_id}", lambda api: api.cancel(self.wish.account, render_id))

    async def _watch(self, render_id: str, *, past_pause: bool = False) -> str:
        """Watch until the render is settled, leaving and coming back, sometimes from further back. Its last status."""
        seq, status = 0, ""
        while True:
            after_seq = self.rng.randint(0, seq) if self.rng.random() < 0.3 else seq
            sight, leaves_after = Sight(render_id, after_seq), self.rng.choice((3, 10, 1000, 1000))
            self.evidence.sights.append(sight)
            try:
                async with aclosing(self._events(render_id, after_seq)) as events:
                    while len(sight.events) < leaves_after:
                        async with asyncio.timeout(PATIENCE_SECONDS):
                            event = await anext(events)
                        if event.keep_alive:
                            continue
                        sight.events.append((event.seq, event.status.value, event.attempt, event.message))
                        seq, status = max(seq, event.seq), event.status.value
                        if status in FINAL or (status == "paused" and not past_pause):
                            return status
                        if status == "queued":
                            past_pause = False
            except StopAsyncIteration:
                if status in FINAL:
                    return status
            except (NoAnswer, TimeoutError):
                await asyncio.sleep(self.rng.uniform(0.1, 3.0))
            except ForgeError as error:
                if error.kind is not Kind.UNAVAILABLE:
                    raise
                await asyncio.sleep(1.0)

    async def _events(self, render_id: str, after_seq: int) -> AsyncGenerator[RenderEvent, None]:
        async def over_there() -> AsyncGenerator[RenderEvent, None]:
            found = await self.host.api().watch(self.wish.account, render_id, after_seq=after_seq)
            async with aclosing(found) as events:
                async for event in events:
                    yield event

        what = f"Watch {render_id} after {after_seq}"
        async with aclosing(self.network.stream(self.host.process, what, over_there)) as events:
            async for event in events:
                yield event

    async def _insist(self, what: str, ask: Callable[[Scheduler], Awaitable[T]], timeout: float = TIMEOUT_SECONDS) -> T:
        """Ask until there is an answer. Raises GaveUp when it is no."""

        async def over_there() -> T:
            return await ask(self.host.api())

        while True:
            try:
                return await self.network.unary(self.host.process, what, over_there, timeout)
            except NoAnswer:
                await asyncio.sleep(self.rng.uniform(0.2, 3.0))
            except ForgeError as error:
                if error.kind is not Kind.UNAVAILABLE:
                    raise GaveUp(error.reason) from error
                await asyncio.sleep(error.retry_after_seconds or 1.0)

    def _acknowledged(self, render: Render, key: str) -> None:
        told = Acknowledged(self.evidence.time(), self.wish.account, key, render.id)
        self.evidence.acknowledged.append(told)
