"""Measurements to test with, and a whole ledger over real SQLite at a time that stands still."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from services.catalog.__main__ import MIGRATIONS
from services.catalog.adapters.sql_ledger import SqlLedger
from services.catalog.domain.measurements import Measurement, Spot
from services.chassis.clock import SystemClock
from services.chassis.storage import sqlite_database
from tests.databases import OpenDatabase

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WAN, WAN_VERSION = "wan-ai-wan-2-1", "t2v-1-3b-diffusers"
EXAMPLE_SHAPE = {
    "width": 832,
    "height": 480,
    "num_frames": 81,
    "num_inference_steps": 50,
    "guidance_scale": 6,
    "fps": 16,
    "seed": 4,
}
HERE = Spot("H200", "eu-north2", simulated=False)

_numbers = count(1)


class StandingClock(SystemClock):
    """Always noon."""

    def now(self) -> datetime:
        return NOON


def a_measurement(
    *, seconds_ago: float = 60, days_ago: float = 0, shape: Mapping[str, Any] | None = None, **more: Any
) -> Measurement:
    """A whole and successful run of Wan's example on a real H200."""
    run = Measurement(
        id=f"m{next(_numbers):06}",
        slug=WAN,
        model_version=WAN_VERSION,
        gpu_type="H200",
        region="eu-north2",
        simulated=False,
        source="probe",
        probe_id="p1",
        measured_at=NOON - timedelta(seconds=seconds_ago, days=days_ago),
        outcome="succeeded",
        reason="",
        failed_phase="",
        is_first_run=False,
        is_resumed=False,
        cold_start_ms=None,
        model_ms=70_000,
        run_ms=72_000,
        phase_ms={"encoding": 100, "denoising": 63_900, "decoding": 6_000, "muxing": 2_000},
        peak_allocated_bytes=20.0 * 2**30,
        peak_reserved_bytes=24.0 * 2**30,
        shape=EXAMPLE_SHAPE | dict(shape or {}),
        mode="",
        software={"weights": "a", "torch": "2.13"},
    )
    return replace(run, **more)


def a_failure(*, reason: str = "OUT_OF_MEMORY", **more: Any) -> Measurement:
    """An attempt that ended badly."""
    nothing = {"model_ms": None, "run_ms": None, "peak_allocated_bytes": None, "peak_reserved_bytes": None}
    bad: dict[str, Any] = {
        "outcome": "failed",
        "reason": reason,
        "failed_phase": "denoising",
        "software": {},
        **nothing,
    }
    return a_measurement(**{**bad, **more})


@asynccontextmanager
async def opened_ledger(folder: Path, open_database: OpenDatabase = sqlite_database) -> AsyncIterator[SqlLedger]:
    """The ledger of a folder; opening it again is a restart."""
    async with open_database(folder / "catalog.sqlite3", MIGRATIONS) as database:
        yield SqlLedger(database)
