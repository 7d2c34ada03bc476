"""A post office for tests: the real store and loop, a clock the test owns, and receivers that do as they are told."""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.chassis.storage import Database, sqlite_database
from services.scheduler.adapters import sql_webhooks
from services.scheduler.adapters.sql_webhooks import SqlWebhookStore
from services.scheduler.domain.render import Render, RenderStatus, snapshot
from services.scheduler.domain.webhook import Answer, Delivery
from services.scheduler.usecases.webhooks import CreatedWebhook, Postman, Webhooks
from tests.databases import OpenDatabase
from tests.unit.scheduler.house_bench import FixedCatalog

MIGRATIONS = Path(sql_webhooks.__file__).parent / "migrations"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OK = Answer(status=200)
BROKEN = Answer(status=500)
URL = "https://hooks.example.com/forge"


_numbers = itertools.count()


def new_id(prefix: str) -> str:
    """An identifier that sorts after all earlier ones."""
    return f"{prefix}_{next(_numbers):06}"


class OwnClock:
    """Time that passes when told. Who sleeps wakes up in order."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not sleeper.done() for _, sleeper in self._sleepers)

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds
        for until, sleeper in self._sleepers:
            if until <= self._seconds and not sleeper.done():
                sleeper.set_result(None)
        self._sleepers = [(until, sleeper) for until, sleeper in self._sleepers if not sleeper.done()]


@dataclass
class Receivers:
    """A courier to receivers that answer as the test says, or do not answer until it lets them."""

    answers: Callable[[str], Answer] = lambda _url: OK
    posts: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    most_open_of: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    silent: set[str] = field(default_factory=set)
    spoken: asyncio.Event = field(default_factory=asyncio.Event)
    _open_of: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.posts.append((url, headers, body))
        self.open += 1
        self._open_of[url] += 1
        self.most_open = max(self.most_open, self.open)
        self.most_open_of[url] = max(self.most_open_of[url], self._open_of[url])
        try:
            if url in self.silent:
                await self.spoken.wait()
            return self.answers(url)
        finally:
            self.open -= 1
            self._open_of[url] -= 1

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of every message so far."""
        return [headers["webhook-id"] for _, headers, _ in self.posts]

    def told(self, url: str) -> list[tuple[str, int]]:
        """Render and number of the events this receiver was told of."""
        bodies = [json.loads(body)["data"] for to, _, body in self.posts if to == url]
        return [(data["render_id"], data["seq"]) for data in bodies]


class WatchedStore(SqlWebhookStore):
    """The real store; it counts how often the loop looks, and when a look found nothing."""

    looks: int = 0
    calm: tuple[int, int] = (0, 0)
    """Number of the newest look that found nothing, and how many messages were under way when it began."""

    async def due(self, *args: Any, **more: Any) -> Any:
        self.looks += 1
        this, under_way = self.looks, len(more["except_webhooks"])
        parcels = await super().due(*args, **more)
        if not parcels:
            self.calm = (this, under_way)
        return parcels


@dataclass
class PostOffice:
    """Everything about webhooks, wired."""

    database: Database
    store: WatchedStore
    clock: OwnClock
    receivers: Receivers
    webhooks: Webhooks
    postman: Postman

    async def webhook(self, url: str = URL, *statuses: str, account: str = "ann", model: str = "") -> CreatedWebhook:
        return await self.webhooks.create(account, url, statuses or ("succeeded",), model)

    async def happens(self, render: Render, status: RenderStatus = RenderStatus.SUCCEEDED, message: str = "") -> None:
        """A render's new status is written, and told in the same transaction."""
        event = snapshot(replace(render, status=status), self.clock.now(), message)
        await self.database.write(lambda connection: self.store.enqueue(connection, render, event))

    async def all(self, account: str = "ann", **only: Any) -> list[Delivery]:
        """The account's deliveries, oldest first."""
        asked = {"state": "", "webhook_id": "", "page_size": 100, "page_token": ""} | only
        return list(reversed((await self.webhooks.deliveries(account, **asked)).deliveries))

    async def the_one(self, account: str = "ann") -> Delivery:
        """The only delivery of the account."""
        (delivery,) = await self.all(account)
        return delivery

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The postman is on his way while the block runs."""
        delivering = asyncio.create_task(self.postman.deliver())
        try:
            yield
        finally:
            delivering.cancel()
            await asyncio.wait([delivering])
            if not delivering.cancelled():
                await delivering

    async def quiet(self, *, still_open: int = 0) -> None:
        """Return once nothing is due but what receivers keep open."""
        async with asyncio.timeout(5):
            looks = self.store.looks
            while not (self.store.calm[0] > looks and self.store.calm[1] == still_open):
                self.postman.wake()
                await asyncio.sleep(0.001)

    async def after(self, seconds: float, *, still_open: int = 0) -> None:
        """Let time pass and everything that is due then happen."""
        self.clock.pass_time(seconds)
        await self.quiet(still_open=still_open)


@asynccontextmanager
async def a_post_office(
    folder: Path,
    open_database: OpenDatabase = sqlite_database,
    *,
    to_private: bool = False,
    luck: float = 0.0,
    is_woken: bool = False,
) -> AsyncIterator[PostOffice]:
    """A post office on the database in `folder`; another one on the same folder is its restart.

    The postman looks when his clock says so, and with `is_woken` also when something is enqueued.
    """
    loop = asyncio.get_running_loop()
    async with open_database(folder / "s.sqlite3", MIGRATIONS) as database:
        clock, receivers = OwnClock(), Receivers()
        wake = (lambda: loop.call_soon_threadsafe(postman.wake)) if is_woken else (lambda: None)
        store = WatchedStore(database, new_id, wake)
        postman = Postman(store=store, courier=receivers, clock=clock, luck=lambda: luck)
        webhooks = Webhooks(
            store=store,
            catalog=FixedCatalog(),
            clock=clock,
            new_id=new_id,
            random_bytes=lambda count: bytes(range(count)),
            to_private_addresses=to_private,
            on_waiting=postman.wake,
        )
        yield PostOffice(database, store, clock, receivers, webhooks, postman)


def some_render(render_id: str = "rnd_1", **changes: Any) -> Render:
    """A render with the given differences."""
    render = Render(id=render_id, account="ann", slug="alpha", model_version="v1", created_at=NOON, last_seq=7)
    return replace(render, **changes)
