"""Rules of noting calls and passing them on, on real databases."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from forge.scheduler.v1 import probe_pb2, probe_service_pb2, render_pb2, render_service_pb2
from opentelemetry.metrics import NoOpMeter

from services.chassis.audit import shipping
from services.chassis.audit.contract import AuditedRpc, audited_rpc
from services.chassis.audit.entry import AuditEntry
from services.chassis.audit.outbox import MIGRATIONS, AuditOutbox
from services.chassis.audit.shipping import Shipping, audit_trail
from services.chassis.audit.trail import AuditTrail
from services.chassis.clock import SystemClock
from services.chassis.errors import ForgeError, Kind, ServiceUnavailable
from services.chassis.identity import Caller, speak_for
from services.chassis.storage import Database, StoreUnavailable
from services.chassis.tasks import in_background
from tests.databases import OpenDatabase

ANN = Caller("ann", "key_1", frozenset({"inference"}), session_id="ses_1", request_id="req-1")
RENDER = "rnd_0123456789abcdefghjkmnpqrs"
CLOCK = SystemClock()
ROWS = sa.text("SELECT body, has_ended FROM audit_outbox")

Opened = Callable[[], AbstractAsyncContextManager[Database]]


def rpc(name: str) -> AuditedRpc:
    found = audited_rpc(f"/forge.scheduler.v1.{name}")
    assert found is not None
    return found


CANCEL = rpc("RenderService/CancelRender")
ASKED = render_service_pb2.CancelRenderRequest(render_id=RENDER)


@dataclass
class Log:
    """An audit log that can be away, and that refuses what it is told to."""

    entries: list[AuditEntry] = field(default_factory=list)
    is_away: bool = False
    refused: set[str] = field(default_factory=set)

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        if self.is_away:
            raise ServiceUnavailable("accounts")
        if any(entry.outcome in self.refused for entry in entries):
            raise ForgeError("no", kind=Kind.INVALID, reason="INVALID_INPUT")
        self.entries += entries

    async def until(self, count: int) -> list[AuditEntry]:
        async with asyncio.timeout(10):
            while len(self.entries) < count:
                await asyncio.sleep(0.005)
        assert len(self.entries) == count
        return self.entries


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def opened(tmp_path: Path, open_database: OpenDatabase) -> Opened:
    return partial(open_database, tmp_path / "audit.sqlite3", MIGRATIONS)


@pytest.fixture
async def trail(opened: Opened, log: Log) -> AsyncIterator[AuditTrail]:
    async with audit_trail(opened(), log, CLOCK, on_failure=lambda: None) as running:
        yield running


def test_a_name_is_kept_and_anything_else_is_not():
    entry = AuditEntry("aud_1", datetime(2026, 1, 1, tzinfo=UTC), "ann", "key_1", "", CANCEL.name)
    kept = (RENDER, "stabilityai-stable-video-diffusion", "a-model")
    dropped = (
        "forge_local_abcDEF0123456789abcDEF0123456789abcdef",
        "whsec_c2VjcmV0c2VjcmV0c2VjcmV0",
        "a prompt",
        "a\nline",
        "Ünïcode",
        "x" * 65,
        "../../etc",
        "",
    )
    assert entry.about([*dropped, *kept, *kept]).resources == kept


def test_what_is_changed_is_read_from_the_fields_the_contract_names():
    branch = rpc("RenderService/BranchRender")
    asked = render_service_pb2.BranchRenderRequest(render_id=RENDER)
    asked.input.update({"prompt": "very private"})
    assert list(branch.named_in(asked, "request")) == [RENDER]
    assert list(branch.named_in(render_pb2.Render(id="rnd_2"), "response")) == ["rnd_2"]
    made = probe_service_pb2.CreateProbesResponse(probes=[probe_pb2.Probe(id="prb_1"), probe_pb2.Probe(id="prb_2")])
    assert list(rpc("ProbeService/CreateProbes").named_in(made, "response")) == ["prb_1", "prb_2"]


def test_an_rpc_that_only_reads_is_not_audited():
    assert audited_rpc("/forge.scheduler.v1.RenderService/GetRender") is None
    assert audited_rpc("/forge.scheduler.v1.RenderService/NoSuchRpc") is None


async def test_a_call_is_on_record_before_it_changes_anything_and_its_end_before_the_answer(trail, opened, log):
    async def rows() -> list[tuple[str, bool]]:
        async with opened() as database:
            found = await database.read(lambda connection: connection.execute(ROWS).all())
        return [(json.loads(body)["outcome"], bool(has_ended)) for body, has_ended in found]

    log.is_away = True
    seen: list[list[tuple[str, bool]]] = []

    async def answer() -> str:
        seen.append(await rows())
        return "the answer"

    speak_for(ANN)
    assert await trail.kept(CANCEL, ASKED, answer) == "the answer"
    assert seen == [[("UNKNOWN", False)]]
    assert await rows() == [("OK", True)]


async def test_an_entry_says_who_did_what_to_which_resource(trail, log):
    speak_for(ANN)
    await trail.kept(CANCEL, ASKED, answer_of(render_pb2.Render(id=RENDER)))
    (entry,) = await log.until(1)
    assert (entry.account, entry.api_key_id, entry.session_id, entry.request_id) == ("ann", "key_1", "ses_1", "req-1")
    assert (entry.method, entry.resources, entry.outcome) == (
        "forge.scheduler.v1.RenderService/CancelRender",
        (RENDER,),
        "OK",
    )
    assert entry.took_ms is not None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ForgeError("private words", kind=Kind.NOT_FOUND, reason="RENDER_NOT_FOUND"), "RENDER_NOT_FOUND"),
        (ValueError("private words"), "INTERNAL"),
        (asyncio.CancelledError(), "CANCELLED"),
    ],
)
async def test_a_call_that_fails_is_kept_with_the_reason_alone(trail, log, error, outcome):
    async def fail() -> None:
        raise error

    speak_for(ANN)
    with pytest.raises(type(error)):
        await trail.kept(CANCEL, ASKED, fail)
    (entry,) = await log.until(1)
    assert entry.outcome == outcome
    assert "private" not in repr(entry)


async def test_a_call_that_is_cut_off_is_kept_although_nobody_waits_for_it(trail, log):
    waits = asyncio.Event()

    async def wait() -> None:
        waits.set()
        await asyncio.Event().wait()

    speak_for(ANN)
    call = asyncio.create_task(trail.kept(CANCEL, ASKED, wait))
    await waits.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (entry,) = await log.until(1)
    assert (entry.outcome, entry.resources) == ("CANCELLED", (RENDER,))


async def test_a_call_that_turns_out_to_be_for_somebody_is_kept_in_their_name(trail, log):
    async def find_out() -> None:
        speak_for(Caller("eve", "key_2", frozenset()))

    speak_for(ANN)
    await trail.kept(CANCEL, ASKED, find_out)
    (entry,) = await log.until(1)
    assert (entry.account, entry.api_key_id) == ("eve", "key_2")


async def test_nothing_is_lost_while_the_audit_log_is_away_or_the_service_is_restarted(opened, log):
    log.is_away = True
    speak_for(ANN)
    async with audit_trail(opened(), log, CLOCK, on_failure=lambda: None) as first:
        for _ in range(3):
            await first.kept(CANCEL, ASKED, answer_of(None))
    log.is_away = False
    async with audit_trail(opened(), log, CLOCK, on_failure=lambda: None):
        await log.until(3)
    assert len({entry.id for entry in log.entries}) == 3


async def test_a_call_whose_service_died_is_kept_with_an_end_that_is_not_known(opened, log):
    began = AuditEntry("aud_1", datetime(2026, 1, 1, tzinfo=UTC), "ann", "key_1", "", CANCEL.name)
    async with opened() as database:
        await AuditOutbox(database).begin(began)
    async with audit_trail(opened(), log, CLOCK, on_failure=lambda: None):
        (entry,) = await log.until(1)
    assert (entry.outcome, entry.took_ms) == ("UNKNOWN", None)


async def test_an_entry_that_is_refused_keeps_no_other_from_being_passed_on(opened, log):
    log.refused = {"INTERNAL"}
    speak_for(ANN)
    async with opened() as database, shipping_of(outbox := AuditOutbox(database), log) as trail:
        for answer in (answer_of(None), failing, answer_of(None)):
            with suppress(ValueError):
                await trail.kept(CANCEL, ASKED, answer)
        entries = await log.until(2)
        assert [entry.outcome for entry in entries] == ["OK", "OK"]
        async with asyncio.timeout(10):
            while await outbox.count() > 1:
                await asyncio.sleep(0.005)
        assert [one.entry.outcome for one in await outbox.due(after=0, limit=10)] == ["INTERNAL"]


class FullDisk(AuditOutbox):
    """An outbox whose disk is full for as long as it is told to be."""

    is_full = False

    async def begin(self, entry: AuditEntry) -> None:
        self._check()
        await super().begin(entry)

    async def end(self, entry: AuditEntry) -> None:
        self._check()
        await super().end(entry)

    def _check(self) -> None:
        if self.is_full:
            raise StoreUnavailable


@pytest.fixture
async def full(opened: Opened) -> AsyncIterator[FullDisk]:
    async with opened() as database:
        yield FullDisk(database)


async def test_a_call_that_cannot_be_put_on_record_is_refused_before_anything_happens(full, log, monkeypatch):
    monkeypatch.setattr(shipping, "POLL_SECONDS", 0.01)
    speak_for(ANN)
    async with shipping_of(full, log) as trail:
        full.is_full = True
        with pytest.raises(StoreUnavailable):
            await trail.kept(CANCEL, ASKED, failing)
        full.is_full = False
        (entry,) = await log.until(1)
    assert entry.outcome == "SERVICE_UNAVAILABLE"


async def test_a_call_that_has_happened_is_answered_and_put_on_record_once_there_is_room(full, log, monkeypatch):
    monkeypatch.setattr(shipping, "POLL_SECONDS", 0.01)

    async def fill_the_disk() -> str:
        full.is_full = True
        return "the answer"

    speak_for(ANN)
    async with shipping_of(full, log) as trail:
        assert await trail.kept(CANCEL, ASKED, fill_the_disk) == "the answer"
        full.is_full = False
        (entry,) = await log.until(1)
    assert entry.outcome == "OK"


async def test_calls_at_the_same_time_share_flushes_to_disk(opened, log):
    log.is_away = True
    speak_for(ANN)
    async with opened() as database, shipping_of(outbox := AuditOutbox(database), log) as trail:
        transactions = counted(outbox)
        await asyncio.gather(*(trail.kept(CANCEL, ASKED, answer_of(None)) for _ in range(50)))
        assert await outbox.count() == 50
    assert transactions() < 20


def answer_of(response):
    async def answer():
        return response

    return answer


async def failing() -> None:
    raise ValueError


@asynccontextmanager
async def shipping_of(outbox: AuditOutbox, log: Log) -> AsyncIterator[AuditTrail]:
    """A trail on an outbox of the test's own, and what passes its entries on."""
    ships = Shipping(outbox, log, CLOCK)
    trail = AuditTrail(outbox, CLOCK, NoOpMeter("test"), ships.wake)
    async with in_background(ships.run(trail), on_failure=lambda: None):
        yield trail


def counted(outbox: AuditOutbox) -> Callable[[], int]:
    """Counts the transactions that an outbox writes from now on."""
    database, count = outbox._database, 0
    write = database.write

    async def counting(transaction):
        nonlocal count
        count += 1
        return await write(transaction)

    database.write = counting
    return lambda: count
