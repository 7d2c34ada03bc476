"""Probes as operators see them, and the rows they are made for."""

from forge.catalog.v1 import catalog_service_pb2, measurement_pb2
from forge.scheduler.v1 import probe_pb2, probe_service_pb2

from services.chassis.wire import timestamp
from services.scheduler.convert.values import target_to_proto
from services.scheduler.domain.probe import Probe, ProbeRun
from services.scheduler.probe_ports import ProbePage, TargetRow


def probe_to_proto(probe: Probe) -> probe_pb2.Probe:
    """A probe."""
    return probe_pb2.Probe(
        id=probe.id,
        slug=probe.slug,
        model_version=probe.model_version,
        target=target_to_proto(probe.target),
        status=probe.status,
        origin=probe.origin,
        message=probe.message,
        reason=probe.reason,
        runs=map(_run_to_proto, probe.runs),
        yields=probe.yields,
        created_at=timestamp(probe.created_at),
        started_at=timestamp(probe.started_at),
        ended_at=timestamp(probe.ended_at),
    )


def created_to_proto(probes: list[Probe]) -> probe_service_pb2.CreateProbesResponse:
    """The probes that were made, one a target."""
    return probe_service_pb2.CreateProbesResponse(probes=map(probe_to_proto, probes))


def page_to_proto(page: ProbePage) -> probe_service_pb2.ListProbesResponse:
    """A page of probes."""
    return probe_service_pb2.ListProbesResponse(
        probes=map(probe_to_proto, page.probes), next_page_token=page.next_before or ""
    )


def row_from_proto(table: catalog_service_pb2.ListTargetsResponse, row: measurement_pb2.TargetRow) -> TargetRow:
    """A row of a performance table."""
    return TargetRow(table.slug, table.model_version, row.gpu_type, row.region, row.simulated, row.status)


def _run_to_proto(run: ProbeRun) -> probe_pb2.ProbeRun:
    message = probe_pb2.ProbeRun(
        counts=run.counts,
        status=run.status,
        cold_start_ms=run.cold_start_ms,
        model_ms=run.model_ms,
        reason=run.reason,
    )
    message.input.update(run.input)
    return message
