"""Measurements, between messages and nouns."""

from collections.abc import Mapping
from typing import Any

from forge.catalog.v1 import catalog_service_pb2, ledger_service_pb2, measurement_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from services.catalog.convert.models import struct_of
from services.catalog.domain.measurements import Measurement
from services.catalog.usecases.performance import MeasurementPage
from services.chassis.wire import moment, present, timestamp


def measurements_from_proto(request: ledger_service_pb2.RecordMeasurementsRequest) -> list[Measurement]:
    """What to add. A time that is not set is 1970."""
    return [_measurement_from_proto(measurement) for measurement in request.measurements]


def page_to_proto(page: MeasurementPage) -> catalog_service_pb2.ListMeasurementsResponse:
    """A page of measurements."""
    return catalog_service_pb2.ListMeasurementsResponse(
        measurements=[_measurement_to_proto(measurement) for measurement in page.measurements],
        next_page_token=page.next_page_token,
    )


def inputs_from_proto(inputs: Struct) -> Mapping[str, Any]:
    """Inputs by name. Numbers are as they are in a Struct: 97 is 97.0."""
    return MessageToDict(inputs)


def _measurement_from_proto(message: measurement_pb2.Measurement) -> Measurement:
    return Measurement(
        id=message.id,
        slug=message.slug,
        model_version=message.model_version,
        gpu_type=message.gpu_type,
        region=message.region,
        simulated=message.simulated,
        source=message.source,
        probe_id=message.probe_id,
        measured_at=moment(message.measured_at),
        outcome=message.outcome,
        reason=message.reason,
        failed_phase=message.failed_phase,
        is_first_run=message.is_first_run,
        is_resumed=message.is_resumed,
        cold_start_ms=present(message, "cold_start_ms"),
        model_ms=present(message, "model_ms"),
        run_ms=present(message, "run_ms"),
        phase_ms=dict(message.phase_ms),
        peak_allocated_bytes=present(message, "peak_allocated_bytes"),
        peak_reserved_bytes=present(message, "peak_reserved_bytes"),
        shape=inputs_from_proto(message.shape),
        mode=message.mode,
        software=dict(message.software),
    )


def _measurement_to_proto(measurement: Measurement) -> measurement_pb2.Measurement:
    return measurement_pb2.Measurement(
        id=measurement.id,
        slug=measurement.slug,
        model_version=measurement.model_version,
        gpu_type=measurement.gpu_type,
        region=measurement.region,
        simulated=measurement.simulated,
        source=measurement.source,
        probe_id=measurement.probe_id,
        measured_at=timestamp(measurement.measured_at),
        outcome=measurement.outcome,
        reason=measurement.reason,
        failed_phase=measurement.failed_phase,
        is_first_run=measurement.is_first_run,
        is_resumed=measurement.is_resumed,
        cold_start_ms=measurement.cold_start_ms,
        model_ms=measurement.model_ms,
        run_ms=measurement.run_ms,
        phase_ms=measurement.phase_ms,
        peak_allocated_bytes=measurement.peak_allocated_bytes,
        peak_reserved_bytes=measurement.peak_reserved_bytes,
        shape=struct_of(measurement.shape),
        mode=measurement.mode,
        software=measurement.software,
    )
