"""Builders, and a store on a real SQLite file."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.billing_estimate.__main__ import MIGRATIONS
from services.billing_estimate.adapters.sql_receipts import SqlReceiptStore
from services.billing_estimate.domain.basis import CostBasis, History, Sample, WorkPart
from services.billing_estimate.domain.receipts import AttemptUse, RenderUse
from services.billing_estimate.domain.targets import Target
from tests.databases import OpenDatabase

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
H200 = Target("H200", "eu-north2")

Build = Callable[..., Any]
StoreMaker = Callable[[], AbstractAsyncContextManager[SqlReceiptStore]]


@pytest.fixture
def a_basis() -> Build:
    """A version of three parts, most of it denoising. The input is the example unless `amounts` say else."""

    def build(*histories: History, amounts: tuple[float, ...] = (1.0, 1.0, 1.0), **changes: Any) -> CostBasis:
        shares = (("encoding", 0.05), ("denoising", 0.75), ("decoding", 0.20))
        parts = tuple(WorkPart(phase, a, share) for a, (phase, share) in zip(amounts, shares, strict=True))
        known = CostBasis("a-model", "v1", parts, output_seconds=4.0, histories=histories)
        return replace(known, **changes)

    return build


@pytest.fixture
def a_run() -> Build:
    """A measured run: the example in 10 s, more work in proportion, and 200 ms beside the phases."""

    def build(amounts: tuple[float, ...] = (1.0, 1.0, 1.0), times: float = 1.0, **changes: Any) -> Sample:
        example = {"encoding": 500, "denoising": 7500, "decoding": 2000}
        phases = {phase: round(ms * a * times) for (phase, ms), a in zip(example.items(), amounts, strict=True)}
        run = Sample(amounts, memory=1.0, phase_ms=phases, run_ms=sum(phases.values()) + 200)
        return replace(run, **changes)

    return build


@pytest.fixture
def a_history() -> Build:
    def build(*samples: Sample, **changes: Any) -> History:
        return replace(History(H200, offered=True, samples=samples), **changes)

    return build


@pytest.fixture
def a_render() -> Build:
    """A render that has succeeded, as the scheduler tells it."""

    def build(**changes: Any) -> RenderUse:
        render = RenderUse(
            render_id="rnd_1",
            seq=9,
            account="acme",
            api_key_id="key_1",
            slug="a-model",
            version="v1",
            status="succeeded",
            is_final=True,
            created_at=NOON,
            ended_at=NOON + timedelta(minutes=1),
            estimated_gpu_seconds=10.0,
            estimated_gpu_seconds_p90=12.0,
            estimated_cost_usd=0.01,
        )
        return replace(render, **changes)

    return build


@pytest.fixture
def an_attempt() -> Build:
    """An attempt of 11 s on an H200."""

    def build(**changes: Any) -> AttemptUse:
        attempt = AttemptUse(
            attempt=1,
            target=H200,
            simulated=False,
            started_at=NOON,
            ended_at=NOON + timedelta(seconds=11),
            outcome="succeeded",
            phase_gpu_us={"denoising": 9_000_000, "starting": 1_000_000, "decoding": 1_000_000},
            cost_per_gpu_hour_usd=4.5,
        )
        return replace(attempt, **changes)

    return build


@pytest.fixture
def open_store(tmp_path: Path, open_database: OpenDatabase) -> StoreMaker:
    """Opens the store; opening it again is a restart."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[SqlReceiptStore]:
        async with open_database(tmp_path / "billing.sqlite3", MIGRATIONS) as database:
            yield SqlReceiptStore(database)

    return opening
