"""The ledger over the wire: what services record, and what readers see of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge.catalog.v1 import catalog_service_pb2 as pb
from forge.catalog.v1 import ledger_service_pb2 as ledger_pb
from forge.catalog.v1 import ledger_service_pb2_grpc as ledger_rpc
from forge.catalog.v1 import measurement_pb2
from google.protobuf.json_format import ParseDict

from services.chassis.clients import channel_to
from services.chassis.errors import ForgeError, Kind
from services.chassis.identity import Caller
from services.chassis.status import errors_of

WAN = "wan-ai-wan-2-1"
VERSION = "t2v-1-3b-diffusers"
SVD = "stabilityai-stable-video-diffusion"
SHAPE = {"width": 832, "height": 480, "num_frames": 81, "num_inference_steps": 50, "guidance_scale": 6, "fps": 16}


def _measurement(number: int, **more: Any) -> measurement_pb2.Measurement:
    """A whole run of Wan's example on the fleet's real L40S."""
    measured_at = datetime.now(UTC) - timedelta(minutes=5, seconds=number)
    content = {
        "id": f"m{number}",
        "slug": WAN,
        "model_version": VERSION,
        "gpu_type": "L40S",
        "region": "eu-north1",
        "source": "organic",
        "measured_at": measured_at.isoformat(),
        "outcome": "succeeded",
        "model_ms": 100_000 + number,
        "run_ms": 102_000,
        "phase_ms": {"denoising": 90_000, "decoding": 10_000},
        "peak_allocated_bytes": 2.0**34,
        "shape": SHAPE,
        "software": {"weights": "a"},
    }
    return ParseDict({**content, **more}, measurement_pb2.Measurement())


async def _record(served: Any, *measurements: measurement_pb2.Measurement) -> None:
    await served.ledger.RecordMeasurements(ledger_pb.RecordMeasurementsRequest(measurements=measurements))


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("catalog"):
            await call
    return caught.value


async def test_three_recorded_runs_verify_a_target_for_everybody_who_reads(served: Any) -> None:
    before = await served.stub.GetReliability(pb.GetReliabilityRequest(slug=WAN))
    assert (before.reliability_status, before.supported_rows, before.total_rows) == ("pending", 0, 3)
    assert not before.HasField("fastest_supported_target")
    await _record(served, *(_measurement(number) for number in range(3)))
    after = await served.stub.GetReliability(pb.GetReliabilityRequest(slug=WAN))
    assert (after.reliability_status, after.supported_rows, after.total_rows) == ("supported", 1, 3)
    assert dict(after.status_counts) == {"supported": 1, "pending": 2, "stale": 0, "failed": 0, "unavailable": 0}
    row = after.fastest_supported_target
    assert row == after.lowest_cost_supported_target
    assert (row.gpu_type, row.region, row.status, row.source) == ("L40S", "eu-north1", "supported", "measured")
    assert row.explanation == "verified: 3 runs of the example, the newest 5 minutes ago"
    assert (row.sample_count, row.request_ms, row.request_ms_p50) == (3, 100_000, 100_001)
    assert (row.offered, row.free_slots, row.simulated, row.is_baseline) == (True, 0, False, True)
    assert (row.attempt_count, row.observed_success_rate, row.peak_allocated_gib) == (3, 1, 16)
    assert row.cost_per_gpu_hour_usd == 1.8
    assert row.estimated_warm_request_cost_usd == 0.050001
    assert 300 <= row.age_seconds < 360
    assert dict(row.software) == {"weights": "a"}


async def test_what_was_not_measured_is_absent(served: Any) -> None:
    await _record(served, _measurement(1, peak_allocated_bytes=None))
    (row,) = (
        await served.stub.GetReliability(pb.GetReliabilityRequest(slug=WAN, gpu_type="L40S", region="eu-north1"))
    ).targets
    for field in ("cold_start_ms", "peak_allocated_gib", "peak_reserved_gib", "published"):
        assert not row.HasField(field), field
    for field in ("request_ms_p95", "request_ms_p99", "request_ms_p50_low", "estimated_first_cold_request_cost_usd"):
        assert not row.HasField(field), field
    bare = (await served.stub.ListTargets(pb.ListTargetsRequest(slug=WAN))).targets[0]
    for field in ("request_ms", "observed_success_rate", "success_rate_low", "last_measured_at", "age_seconds"):
        assert not bare.HasField(field), field
    assert bare.simulated


async def test_a_selection_says_what_it_was_narrowed_by(served: Any) -> None:
    request = pb.GetReliabilityRequest(slug=WAN, model_version=VERSION, gpu_type="L40S", region="eu-north1")
    found = await served.stub.GetReliability(request)
    assert dict(found.filters) == {"model_version": VERSION, "gpu_type": "L40S", "region": "eu-north1"}
    error = await _error(served.stub.GetReliability(pb.GetReliabilityRequest(slug=WAN, gpu_type="L4OS")))
    assert (error.kind, error.reason) == (Kind.INVALID, "UNKNOWN_TARGET")


async def test_the_table_compares_rows_with_the_baseline_asked_for(served: Any) -> None:
    fastest = await served.stub.ListTargets(pb.ListTargetsRequest(slug=SVD))
    assert fastest.baseline == "B200@us-central1"
    assert [(row.gpu_type, row.region) for row in fastest.targets] == [
        ("B200", "us-central1"),
        ("B300", "uk-south1"),
        ("H100", "eu-north1"),
        ("H200", "eu-north2"),
        ("L40S", "eu-north1"),
        ("RTX6000", "us-central1"),
    ]
    l40s = fastest.targets[4]
    assert l40s.relative_speed == pytest.approx(22 / 62)
    assert l40s.published.model_ms == 62_000
    assert l40s.estimated_warm_request_cost_usd == 0.031
    assert l40s.estimated_first_cold_request_cost_usd == 0.03865
    assert (l40s.status, l40s.source) == ("pending", "published")
    other = await served.stub.ListTargets(pb.ListTargetsRequest(slug=SVD, baseline="L40S@eu-north1"))
    assert other.targets[0].relative_speed == pytest.approx(62 / 22)
    assert [row.is_baseline for row in other.targets] == [False, False, False, False, True, False]
    error = await _error(served.stub.ListTargets(pb.ListTargetsRequest(slug=SVD, baseline="L40S")))
    assert (error.reason, [violation.field for violation in error.violations]) == ("UNKNOWN_TARGET", ["baseline"])


async def test_measurements_are_listed_as_they_were_recorded(served: Any) -> None:
    first = _measurement(2, cold_start_ms=9_000, mode="sync", is_first_run=True)
    second = _measurement(
        1, outcome="failed", reason="OUT_OF_MEMORY", failed_phase="decoding", model_ms=None, software={}
    )
    await _record(served, first, second)
    await _record(served, first)
    page = await served.stub.ListMeasurements(pb.ListMeasurementsRequest(slug=WAN, page_size=1))
    rest = await served.stub.ListMeasurements(
        pb.ListMeasurementsRequest(slug=WAN, page_size=1, page_token=page.next_page_token)
    )
    assert [*page.measurements, *rest.measurements] == [second, first]
    assert rest.next_page_token == ""
    elsewhere = await served.stub.ListMeasurements(pb.ListMeasurementsRequest(slug=WAN, gpu_type="B200"))
    assert len(elsewhere.measurements) == 0


async def test_an_estimate_rests_on_the_work_of_the_input_and_of_what_was_measured(served: Any) -> None:
    await _record(served, _measurement(1, cold_start_ms=9_000), _measurement(2, shape={**SHAPE, "num_frames": 41}))
    request = ledger_pb.GetCostBasisRequest(slug=WAN)
    request.input.update({**SHAPE, "num_inference_steps": 25})
    basis = await served.ledger.GetCostBasis(request)
    assert (basis.slug, basis.model_version, basis.vram_floor_gib) == (WAN, VERSION, 20)
    assert [(part.phase, part.amount) for part in basis.work] == [
        ("encoding", 1),
        ("denoising", 0.5),
        ("denoising", 0.5),
        ("decoding", 1),
        ("muxing", 1),
        ("storing", 1),
    ]
    assert sum(part.share for part in basis.work) == pytest.approx(1)
    assert (basis.memory, basis.output_seconds) == (1, 81 / 16)
    target = next(target for target in basis.targets if target.gpu_type == "L40S")
    assert (target.offered, target.simulated, list(target.cold_start_ms)) == (True, False, [9_000])
    newest, older = target.samples
    assert list(newest.amounts) == [1] * 6
    assert older.amounts[2] == pytest.approx((11 / 21) ** 2)
    assert (newest.run_ms, newest.phase_ms["denoising"]) == (102_000, 90_000)
    assert not newest.HasField("peak_reserved_bytes")


async def test_without_an_input_the_basis_is_that_of_the_example(served: Any) -> None:
    basis = await served.ledger.GetCostBasis(ledger_pb.GetCostBasisRequest(slug=SVD))
    assert {part.amount for part in basis.work} == {1.0}
    l40s = next(target for target in basis.targets if target.gpu_type == "L40S")
    assert [figure.model_ms for figure in l40s.published] == [62_000]
    error = await _error(served.ledger.GetCostBasis(ledger_pb.GetCostBasisRequest(slug="none")))
    assert error.reason == "MODEL_NOT_FOUND"


async def test_a_measurement_without_an_id_is_refused(served: Any) -> None:
    error = await _error(_record(served, _measurement(1, id="")))
    assert (error.reason, [violation.field for violation in error.violations]) == (
        "INVALID_INPUT",
        ["measurements[0].id"],
    )


async def test_no_key_however_powerful_may_write_the_ledger(served: Any) -> None:
    powerful = Caller("acme", "key_1", frozenset({"admin", "inference", "read"}))
    async with channel_to(f"127.0.0.1:{served.port}", powerful) as channel:
        stub = ledger_rpc.LedgerServiceStub(channel)
        for call in (
            stub.RecordMeasurements(ledger_pb.RecordMeasurementsRequest()),
            stub.GetCostBasis(ledger_pb.GetCostBasisRequest(slug=WAN)),
        ):
            assert (await _error(call)).reason == "MISSING_SCOPE"


async def test_alone_the_catalogue_still_tells_what_it_knows_but_no_prices(served_alone: Any) -> None:
    await _record(served_alone, *(_measurement(number) for number in range(3)))
    found = await served_alone.stub.ListTargets(pb.ListTargetsRequest(slug=WAN))
    (row,) = found.targets
    assert (row.status, row.offered) == ("supported", False)
    assert not row.HasField("free_slots")
    assert not row.HasField("cost_per_gpu_hour_usd")
    assert not row.HasField("estimated_warm_request_cost_usd")
    assert not found.HasField("lowest_cost_supported_target")
    assert found.HasField("fastest_supported_target")
    assert len((await served_alone.ledger.GetCostBasis(ledger_pb.GetCostBasisRequest(slug=WAN))).targets) == 1


async def test_a_version_says_what_a_probe_renders(served: Any) -> None:
    (version,) = (await served.stub.GetModel(pb.GetModelRequest(slug=WAN))).versions
    assert dict(version.probe_inputs[0]) == {"width": 416, "height": 240, "num_frames": 17, "num_inference_steps": 4}
    assert len(version.probe_inputs) == 4
