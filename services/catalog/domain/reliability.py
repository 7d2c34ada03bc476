"""How far a version is verified on a target: the statuses, what each demands, and why a target has the one it has."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.catalog.domain.measurements import History, Measurement


class Status(StrEnum):
    """How far a version is verified on a target, the best first."""

    SUPPORTED = "supported"
    STALE = "stale"
    PENDING = "pending"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Demands:
    """What verifying takes."""

    fresh: timedelta = timedelta(days=30)
    """Measurements count for so long."""
    runs: int = 3
    """Fresh runs of the example that a supported target has at least."""
    judged_attempts: int = 10
    """More than half of so many newest attempts succeeded on a supported target."""


@dataclass(frozen=True)
class Verdict:
    """A status, and why, in words."""

    status: Status
    explanation: str


def verdict(
    history: History | None, *, simulated: bool, is_offered: bool | None, now: datetime, demands: Demands
) -> Verdict:
    """How far a target is verified; `is_offered` is None when the fleet cannot be asked."""
    if simulated:
        return Verdict(Status.PENDING, _of_an_imitation(history))
    if history is None:
        return Verdict(Status.PENDING, _of_the_unmeasured(is_offered))
    if is_offered is False:
        return Verdict(Status.UNAVAILABLE, "measured here before, but this fleet does not offer it now")
    judged = history.attempts[: demands.judged_attempts]
    succeeded = sum(attempt.has_succeeded for attempt in judged)
    if judged and 2 * succeeded <= len(judged):
        return Verdict(Status.FAILED, _of_failures(judged, succeeded))
    if len(history.runs) >= demands.runs:
        age = ago(now - history.runs[0].measured_at)
        return Verdict(Status.SUPPORTED, f"verified: {len(history.runs)} runs of the example, the newest {age}")
    if history.most_runs >= demands.runs:
        return Verdict(Status.STALE, _of_the_stale(history, now, demands))
    there = _are_there(len(history.runs), demands)
    return Verdict(Status.PENDING, f"awaiting a probe: {there}")


def ago(age: timedelta) -> str:
    """A time since, as people say it: "3 minutes ago"."""
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if age >= length:
            return f"{age // length} {unit}{'s' if age // length > 1 else ''} ago"
    return "less than a minute ago"


def failure_reasons(attempts: tuple[Measurement, ...]) -> dict[str, int]:
    """How many attempts ended badly for which reason, the most frequent first."""
    reasons = Counter(each.reason or each.outcome.upper() for each in attempts if not each.has_succeeded)
    return dict(reasons.most_common())


def _of_an_imitation(history: History | None) -> str:
    measured = f"; {len(history.runs)} runs of the example were imitated" if history and history.runs else ""
    return f"awaiting a real device: this fleet only imitates it, which verifies nothing{measured}"


def _of_the_unmeasured(is_offered: bool | None) -> str:
    if is_offered:
        return "awaiting a probe: nothing was measured here"
    if is_offered is None:
        return "nothing was measured here, and what the fleet offers is not known now"
    return "nothing was measured here, and this fleet does not offer it; what is known was published by others"


def _of_failures(judged: tuple[Measurement, ...], succeeded: int) -> str:
    reason = next(iter(failure_reasons(judged)))
    if len(judged) == 1:
        return f"failing: the only attempt ended with {reason}"
    return (
        f"failing: {len(judged) - succeeded} of the newest {len(judged)} attempts did not succeed, mostly for {reason}"
    )


def _of_the_stale(history: History, now: datetime, demands: Demands) -> str:
    newest = history.newest_run_at or history.newest_at
    if now - newest > demands.fresh:
        return f"verified once, but the newest run of the example was {ago(now - newest)}"
    there = _are_there(len(history.runs), demands)
    if history.most_other_runs >= demands.runs:
        return f"verified once, but with other weights or software: with these {there}"
    return f"verified once, but of the last {demands.fresh.days} days {there}"


def _are_there(count: int, demands: Demands) -> str:
    return f"{count} of {demands.runs} runs needed {'is' if count == 1 else 'are'} there"
