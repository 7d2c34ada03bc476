"""What the scheduler asks and tells of money, and the receipts that follow, over the wire."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import metering_service_pb2 as metering
from forge.catalog.v1 import ledger_service_pb2
from forge.common.v1 import target_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of
from tests.rpc.billing_estimate.town_bench import SVD, WAN, Town

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = pb.GetUsageRequest(since="2026-11-20", until="2026-11-20")


def _at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOON + timedelta(seconds=seconds))
    return stamp


def _attempt(number: int = 1, outcome: str = "succeeded", **changes: Any) -> metering.AttemptUse:
    said = {
        "attempt": number,
        "target": target_pb2.Target(gpu_type="H200", region="eu-north2"),
        "started_at": _at(0),
        "ended_at": _at(11),
        "outcome": outcome,
        "phase_gpu_seconds": {"starting": 1.0, "denoising": 9.0, "decoding": 1.0},
    }
    return metering.AttemptUse(**(said | changes))


def _use(*attempts: metering.AttemptUse, **changes: Any) -> metering.RecordUseRequest:
    said = {
        "render_id": "rnd_1",
        "seq": 9,
        "account": "acme",
        "api_key_id": "key_1",
        "slug": SVD,
        "model_version": "v1",
        "status": "succeeded",
        "is_final": True,
        "created_at": _at(-5),
        "ended_at": _at(12),
        "attempts": attempts,
        "estimated_gpu_seconds": 10.0,
        "estimated_gpu_seconds_p90": 12.0,
        "estimated_cost_usd": 0.0125,
    }
    return metering.RecordUseRequest(**(said | changes))


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("billing-estimate"):
            await call
    return caught.value


async def test_the_scheduler_learns_of_every_target_with_and_without_a_price(town: Town) -> None:
    run = ledger_service_pb2.CostSample(amounts=[1.0], memory=1.0, phase_ms={"denoising": 9_000}, run_ms=9_000)
    town.catalog.samples[("H100", "eu-north1")] = [run]
    request = metering.EstimateTargetsRequest(slug=SVD, model_version="v1")
    answer = await town.metering.EstimateTargets(request)
    costs = [target.estimated_warm_request_cost_usd for target in answer.targets]
    assert costs == sorted(costs)
    assert len(costs) == 5
    (unpriced,) = answer.unpriced
    assert (unpriced.gpu_type, unpriced.request_ms, unpriced.cost_per_gpu_hour_usd) == ("H100", 9_000, 0)
    assert len(answer.prices) == 6
    request.input.update({"num_inference_steps": 30})
    thrice = await town.metering.EstimateTargets(request)
    assert thrice.unpriced[0].request_ms == 27_000
    assert thrice.unpriced[0].extrapolation == pytest.approx(3.0)


async def test_a_version_without_times_has_prices_still(town: Town) -> None:
    answer = await town.metering.EstimateTargets(metering.EstimateTargetsRequest(slug=WAN))
    assert (len(answer.targets), len(answer.unpriced), len(answer.prices)) == (0, 0, 6)
    error = await _error(town.metering.EstimateTargets(metering.EstimateTargetsRequest(slug="none")))
    assert error.reason == "MODEL_NOT_FOUND"


async def test_only_services_may_meter(town: Town) -> None:
    for call in (
        town.metering_of_a_client.RecordUse(_use()),
        town.metering_of_a_client.EstimateTargets(metering.EstimateTargetsRequest(slug=SVD)),
    ):
        error = await _error(call)
        assert (error.kind, error.reason) == (Kind.FORBIDDEN, "MISSING_SCOPE")


async def test_a_receipt_says_what_each_phase_took_and_cost(town: Town) -> None:
    await town.metering.RecordUse(_use(_attempt()))
    receipt = await town.estimates.GetReceipt(pb.GetReceiptRequest(render_id="rnd_1"))
    assert (receipt.slug, receipt.status, receipt.is_final) == (SVD, "succeeded", True)
    assert (receipt.gpu_seconds, receipt.cost_usd) == (11.0, 0.01375)
    assert dict(receipt.phase_gpu_seconds) == {"starting": 1.0, "denoising": 9.0, "decoding": 1.0}
    assert [(line.phase, line.cost_usd, line.cost_per_gpu_hour_usd) for line in receipt.lines] == [
        ("starting", 0.00125, 4.5),
        ("denoising", 0.01125, 4.5),
        ("decoding", 0.00125, 4.5),
    ]
    assert receipt.estimate_error == pytest.approx(0.1)
    assert (receipt.created_at, receipt.ended_at) == (_at(-5), _at(12))


async def test_while_a_render_is_tried_again_its_receipt_is_not_final(town: Town) -> None:
    lost = _attempt(outcome="lost", phase_gpu_seconds={"denoising": 4.0})
    await town.metering.RecordUse(_use(lost, seq=4, status="queued", is_final=False, ended_at=None))
    receipt = await town.estimates.GetReceipt(pb.GetReceiptRequest(render_id="rnd_1"))
    assert (receipt.is_final, receipt.cost_usd) == (False, 0.005)
    assert not receipt.HasField("ended_at")
    await town.metering.RecordUse(_use(lost, _attempt(2)))
    receipt = await town.estimates.GetReceipt(pb.GetReceiptRequest(render_id="rnd_1"))
    assert (receipt.is_final, receipt.cost_usd) == (True, 0.01875)
    assert not receipt.HasField("estimate_error")


async def test_an_unpriced_device_gives_a_receipt_without_a_cost(town: Town) -> None:
    h100 = target_pb2.Target(gpu_type="H100", region="eu-north1", simulated=True)
    await town.metering.RecordUse(_use(_attempt(target=h100)))
    receipt = await town.estimates.GetReceipt(pb.GetReceiptRequest(render_id="rnd_1"))
    assert receipt.gpu_seconds == 11.0
    assert not receipt.HasField("cost_usd")
    assert not any(line.HasField("cost_usd") or line.HasField("cost_per_gpu_hour_usd") for line in receipt.lines)
    assert all(line.simulated for line in receipt.lines)


async def test_before_its_first_attempt_has_ended_and_for_strangers_there_is_no_receipt(town: Town) -> None:
    await town.metering.RecordUse(_use(render_id="rnd_2", is_final=False, status="queued"))
    await town.metering.RecordUse(_use(_attempt()))
    for stub, render_id in ((town.estimates, "rnd_2"), (town.estimates, "rnd_3"), (town.others, "rnd_1")):
        error = await _error(stub.GetReceipt(pb.GetReceiptRequest(render_id=render_id)))
        assert (error.kind, error.reason) == (Kind.NOT_FOUND, "RENDER_NOT_FOUND")


async def test_usage_adds_up_the_receipts_of_the_account(town: Town) -> None:
    await town.metering.RecordUse(_use(_attempt(outcome="lost"), _attempt(2)))
    await town.metering.RecordUse(_use(_attempt(), render_id="rnd_2", api_key_id="key_9"))
    await town.metering.RecordUse(_use(_attempt(), render_id="rnd_3", account="other"))
    usage = await town.estimates.GetUsage(DAY)
    assert [(row.day, row.api_key_id, row.renders, row.attempts, row.cost_usd) for row in usage.rows] == [
        ("2026-11-20", "key_1", 1, 2, 0.0275),
        ("2026-11-20", "key_9", 1, 1, 0.01375),
    ]
    assert (usage.renders, usage.gpu_seconds, usage.cost_usd) == (2, 33.0, 0.04125)
    narrowed = pb.GetUsageRequest(since="2026-11-20", until="2026-11-20", model=SVD, api_key_id="key_9")
    assert (await town.estimates.GetUsage(narrowed)).renders == 1
    assert len((await town.others.GetUsage(DAY)).rows) == 1


async def test_wrong_days_are_named(town: Town) -> None:
    error = await _error(town.estimates.GetUsage(pb.GetUsageRequest(since="soon", until="2026-13-01")))
    assert (error.kind, error.reason) == (Kind.INVALID, "INVALID_INPUT")
    assert {violation.field for violation in error.violations} == {"since", "until"}


async def test_how_far_estimates_were_off_shows_beside_the_next_estimate(town: Town) -> None:
    nothing = await town.estimates.ListCalibrations(pb.ListCalibrationsRequest())
    assert (nothing.overall.sample_count, len(nothing.calibrations)) == (0, 0)
    await town.metering.RecordUse(_use(_attempt()))
    known = await town.estimates.ListCalibrations(pb.ListCalibrationsRequest())
    assert known.overall.sample_count == 1
    assert known.overall.slug == ""
    assert known.overall.median_error == pytest.approx(0.1)
    (of_h200,) = known.calibrations
    assert (of_h200.slug, of_h200.gpu_type, of_h200.region) == (SVD, "H200", "eu-north2")
    assert of_h200.median_absolute_error == pytest.approx(1 / 11)
    assert of_h200.share_within_p90 == 1.0
    estimate = await town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD))
    assert {t.gpu_type: t.calibration for t in estimate.targets if t.HasField("calibration")} == {"H200": of_h200}
