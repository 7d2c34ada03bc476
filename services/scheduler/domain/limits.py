"""What an attempt may not go beyond."""

from datetime import datetime

from services.scheduler.domain.facts import Failure
from services.scheduler.domain.render import Render


def overrun(render: Render, now: datetime, *, elapsed_seconds: float, max_run_seconds: float) -> Failure | None:
    """Why a running render must not go on, if it must not; `elapsed_seconds` is its attempt's device time so far."""
    if render.deadline is not None and now >= render.deadline:
        return Failure("DEADLINE_EXCEEDED", "it did not end before its deadline", retry=True)
    if elapsed_seconds > max_run_seconds:
        words = f"it ran longer than the {max_run_seconds:.0f} s its version may take"
        return Failure("RUN_TIME_EXCEEDED", words, retry=True)
    last = render.attempts[-1]
    usd = render.usd + (elapsed_seconds - last.gpu_seconds) * (last.usd_per_hour or 0.0) / 3600
    if render.max_cost_usd is not None and usd >= render.max_cost_usd:
        return Failure(
            "COST_LIMIT_EXCEEDED", f"its device time has cost max_cost_usd {render.max_cost_usd}", retry=True
        )
    return None
