"""What is counted and measured of renders, by model, target and outcome; never by account, render or input."""

from collections.abc import Mapping

from opentelemetry import metrics

from services.scheduler.domain.facts import AttemptRecord, Outcome
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.usecases.spans import inside, of_render

meter = metrics.get_meter("forge.scheduler")

_BOUNDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600]

_accepted = meter.create_counter("forge.renders.accepted", description="Renders accepted")
_ended = meter.create_counter("forge.renders.ended", description="Renders that ended, by status and reason")
_attempts = meter.create_counter("forge.attempts.ended", description="Attempts that ended, by outcome")
_device = meter.create_counter("forge.device.time", unit="s", description="Device time of ended attempts")
_checkpoints = meter.create_counter("forge.checkpoints", description="Checkpoints that renders could go on from")
_wait = meter.create_histogram(
    "forge.render.wait",
    unit="s",
    description="Time in the queue before an attempt",
    explicit_bucket_boundaries_advisory=_BOUNDS,
)
_phase = meter.create_histogram(
    "forge.render.phase.duration",
    unit="s",
    description="Device time of an ended attempt in each phase",
    explicit_bucket_boundaries_advisory=_BOUNDS,
)
_total = meter.create_histogram(
    "forge.render.duration",
    unit="s",
    description="Time from acceptance to the end of a render",
    explicit_bucket_boundaries_advisory=_BOUNDS,
)
_cold_starts = meter.create_histogram(
    "forge.cold_start.duration",
    unit="s",
    description="Time that renders waited for the start of a runtime",
    explicit_bucket_boundaries_advisory=_BOUNDS,
)
_watchers = meter.create_up_down_counter("forge.watchers", description="Streams of events that are open")
_deliveries = meter.create_counter("forge.webhook.tries", description="Messages sent to webhooks, by what came of it")


def accepted(render: Render) -> None:
    """A render was accepted."""
    _accepted.add(1, {"model": render.slug, "is_probe": bool(render.probe_id)})


def count_change(before: Render, after: Render) -> None:
    """Count what a change of a render has ended. Each figure leads to the trace of the render."""
    with inside(of_render(after)):
        if after.checkpoint_key and after.checkpoint_key != before.checkpoint_key:
            _checkpoints.add(1, {"model": after.slug})
        if before.status is RenderStatus.QUEUED and after.status is RenderStatus.RUNNING:
            waited = (after.attempts[-1].began_at - before.waits_since).total_seconds()
            _wait.record(max(0.0, waited), {"model": after.slug})
        if before.attempts and before.attempts[-1].outcome is Outcome.RUNNING and after.attempts[-1].ended_at:
            _count_attempt(after, after.attempts[-1])
        if after.is_final and not before.is_final:
            reason = after.error.reason if after.error else ""
            _ended.add(1, {"model": after.slug, "status": after.status.value, "reason": reason})
            if after.ended_at is not None:
                took = (after.ended_at - after.created_at).total_seconds()
                _total.record(max(0.0, took), {"model": after.slug, "status": after.status.value})


def cold_start(render: Render, target: Target, seconds: float) -> None:
    """A render has waited for the start of its runtime."""
    with inside(of_render(render)):
        _cold_starts.record(seconds, {"model": render.slug, **_labels(target)})


def watching(change: int) -> None:
    """So many more watch."""
    _watchers.add(change)


def webhook_tried(state: str) -> None:
    """A message was sent, and stands like this now."""
    _deliveries.add(1, {"state": state})


def _count_attempt(render: Render, record: AttemptRecord) -> None:
    labels = {"model": render.slug, **_labels(record.target)}
    _attempts.add(1, {**labels, "outcome": record.outcome.value})
    _device.add(max(0.0, record.gpu_seconds), labels)
    for phase, seconds in record.phase_gpu_seconds.items():
        _phase.record(max(0.0, seconds), {**labels, "phase": phase})


def _labels(target: Target) -> Mapping[str, str]:
    return {"gpu_type": target.gpu_type, "region": target.region}
