"""Estimates over the wire, asking a catalogue and a scheduler."""

from typing import Any

import pytest
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.catalog.v1 import ledger_service_pb2

from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of
from tests.rpc.billing_estimate.town_bench import OUTPUT_SECONDS, PUBLISHED, SKYREELS, SVD, WAN, Town


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("billing-estimate"):
            await call
    return caught.value


@pytest.mark.parametrize(("slug", "column"), [(SVD, 1), (SKYREELS, 2)])
async def test_every_published_row_is_priced(town: Town, slug: str, column: int) -> None:
    output_seconds = OUTPUT_SECONDS[slug]
    estimate = await town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=slug))
    assert {(target.gpu_type, target.region) for target in estimate.targets} == set(PUBLISHED)
    costs = [target.estimated_warm_request_cost_usd for target in estimate.targets]
    assert costs == sorted(costs)
    for target in estimate.targets:
        figures: Any = PUBLISHED[target.gpu_type, target.region]
        price, (warm, cold) = figures[0], figures[column]
        assert target.cost_per_gpu_hour_usd == price
        assert (target.request_ms, target.cold_start_ms) == (round(warm * 1000), round(cold * 1000))
        assert target.estimated_warm_request_cost_usd == pytest.approx(warm / 3600 * price, abs=1e-6)
        assert target.estimated_first_cold_request_cost_usd == pytest.approx((warm + cold) / 3600 * price, abs=1e-6)
        assert target.estimated_cost_per_output_second_usd == pytest.approx(
            warm / 3600 * price / output_seconds, abs=1e-6
        )
        assert (target.basis, target.sample_count) == ("published", 1)


async def test_skyreels_is_cheapest_on_b200_although_rtx6000_has_the_lowest_hour(town: Town) -> None:
    estimate = await town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SKYREELS))
    b200, rtx6000 = estimate.targets[:2]
    assert (b200.gpu_type, round(b200.estimated_warm_request_cost_usd, 3)) == ("B200", 0.240)
    assert (rtx6000.gpu_type, round(rtx6000.estimated_warm_request_cost_usd, 4)) == ("RTX6000", 0.2455)
    assert min(estimate.targets, key=lambda target: target.cost_per_gpu_hour_usd) == rtx6000
    assert estimate.lowest_cost_target == estimate.selected_target == estimate.fastest_target == b200
    assert estimate.estimated_warm_request_cost_usd == b200.estimated_warm_request_cost_usd
    assert estimate.estimated_first_cold_request_cost_usd == b200.estimated_first_cold_request_cost_usd


async def test_svd_is_fastest_and_cheapest_on_different_targets(town: Town) -> None:
    estimate = await town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD))
    assert estimate.model_version == "v1"
    assert estimate.fastest_target.gpu_type == "B200"
    assert estimate.lowest_cost_target.gpu_type == estimate.selected_target.gpu_type == "RTX6000"
    assert not estimate.HasField("gpu_type")


async def test_a_pin_selects_its_target(town: Town) -> None:
    request = pb.GetRunEstimateRequest(slug=SVD, model_version="v1", gpu_type="L40S", region="eu-north1")
    estimate = await town.estimates.GetRunEstimate(request)
    assert (estimate.gpu_type, estimate.region) == ("L40S", "eu-north1")
    assert [target.gpu_type for target in estimate.targets] == ["L40S"]
    assert estimate.estimated_warm_request_cost_usd == pytest.approx(62 / 3600 * 1.82, abs=1e-6)
    assert estimate.estimated_first_cold_request_cost_usd == pytest.approx(77.3 / 3600 * 1.82, abs=1e-6)


async def test_what_cannot_be_estimated_says_why(town: Town) -> None:
    for request, kind, reason in (
        ({"slug": "none"}, Kind.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({"slug": SVD, "model_version": "none"}, Kind.NOT_FOUND, "VERSION_NOT_FOUND"),
        ({"slug": SVD, "gpu_type": "B2000"}, Kind.INVALID, "UNKNOWN_TARGET"),
        ({"slug": SVD, "region": "mars"}, Kind.INVALID, "UNKNOWN_TARGET"),
        ({"slug": SVD, "gpu_type": "H100"}, Kind.NOT_FOUND, "NO_ESTIMATE"),
        ({"slug": SVD, "gpu_type": "B200", "region": "eu-north1"}, Kind.NOT_FOUND, "NO_ESTIMATE"),
        ({"slug": WAN}, Kind.NOT_FOUND, "NO_ESTIMATE"),
        ({"slug": WAN, "gpu_type": "H200"}, Kind.NOT_FOUND, "NO_ESTIMATE"),
    ):
        error = await _error(town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(**request)))
        assert (error.kind, error.reason) == (kind, reason), request


async def test_the_catalogues_own_details_reach_the_caller(town: Town) -> None:
    error = await _error(town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD, model_version="none")))
    assert error.metadata == {"known": "v1"}
    assert error.resource == ("model version", f"{SVD}/none")


async def test_the_price_book_is_listed_in_order(town: Town) -> None:
    response = await town.estimates.ListPrices(pb.ListPricesRequest())
    found = [((price.gpu_type, price.region), price.cost_per_gpu_hour_usd) for price in response.prices]
    shipped = {target: figures[0] for target, figures in PUBLISHED.items()} | {("CPU", "local"): 0.05}
    assert found == sorted(shipped.items())
    assert all(price.source and not price.HasField("valid_from") for price in response.prices)
    assert await town.estimates.ListPrices(pb.ListPricesRequest(all=True)) == response


async def test_estimates_need_the_catalogue_and_prices_do_not(lonely_town: Town) -> None:
    error = await _error(lonely_town.estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD)))
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    assert len((await lonely_town.estimates.ListPrices(pb.ListPricesRequest())).prices) == 6


def _input(slug: str, **body: Any) -> pb.EstimateInputRequest:
    request = pb.EstimateInputRequest(slug=slug)
    request.input.update(body)
    return request


def _sample(steps: float, denoising_ms: int) -> ledger_service_pb2.CostSample:
    return ledger_service_pb2.CostSample(
        amounts=[steps / 10],
        memory=1.0,
        phase_ms={"denoising": denoising_ms, "storing": 100},
        run_ms=denoising_ms + 150,
        peak_allocated_bytes=5 * 1024**3,
    )


async def test_an_input_of_twice_the_steps_takes_twice_the_published_time(town: Town) -> None:
    estimate = await town.estimates.EstimateInput(_input(SVD, num_inference_steps=20, prompt="a boat"))
    assert estimate.selected_target.gpu_type == "RTX6000"
    assert estimate.selected_target.request_ms == 2 * 32_300
    assert estimate.selected_target.request_seconds_p90 > 1.5 * 2 * 32.3
    assert "published by others, not measured here" in estimate.selected_target.caveats
    assert estimate.output_seconds == pytest.approx(25 / 7)
    assert estimate.warnings == ["prompt has no effect"]


async def test_an_input_goes_where_the_fleet_can_run_it(town: Town) -> None:
    town.catalog.offered = {("CPU", "local"), ("H200", "eu-north2")}
    town.catalog.samples[("CPU", "local")] = [_sample(10, 60_000)] * 3
    estimate = await town.estimates.EstimateInput(_input(SVD))
    selected = estimate.selected_target
    assert (selected.gpu_type, selected.offered, selected.basis, selected.sample_count) == ("CPU", True, "measured", 3)
    assert selected.request_ms == 60_150
    assert dict(selected.phase_seconds) == {"denoising": 60.0, "storing": 0.1}
    assert selected.estimated_warm_request_cost_usd == pytest.approx(60.15 / 3600 * 0.05, abs=1e-6)
    assert (selected.idle_tail_seconds, selected.idle_tail_cost_usd) == (900, 0.0125)
    assert selected.peak_allocated_gib == pytest.approx(5.0)
    assert not selected.HasField("peak_reserved_gib")
    assert not selected.HasField("cold_start_ms")
    assert not selected.HasField("calibration")
    assert selected.extrapolation == 1.0
    hurried = await town.estimates.EstimateInput(_input(SVD, finish_within_seconds=50))
    assert hurried.selected_target.gpu_type == "H200"
    assert [target.gpu_type for target in hurried.targets if target.keeps_limits] == ["H200", "B200", "B300"]
    assert "expected to end within 50 s" in hurried.explanation


async def test_an_input_that_costs_too_much_everywhere_keeps_no_limit(town: Town) -> None:
    estimate = await town.estimates.EstimateInput(_input(SVD, max_cost_usd=0.0001))
    assert not any(target.keeps_limits for target in estimate.targets)
    assert "$0.0001" in estimate.explanation


async def test_an_input_that_no_render_could_have_is_refused_as_a_render_would_be(town: Town) -> None:
    error = await _error(town.estimates.EstimateInput(_input(SVD, num_inference_steps=0)))
    assert (error.kind, error.reason) == (Kind.INVALID, "INVALID_INPUT")
    assert [violation.field for violation in error.violations] == ["num_inference_steps"]
    pinned = await _error(town.estimates.EstimateInput(_input(SVD, gpu_type="H100")))
    assert pinned.reason == "NO_ESTIMATE"


async def test_the_estimate_of_an_input_needs_the_scheduler(lonely_town: Town) -> None:
    error = await _error(lonely_town.estimates.EstimateInput(_input(SVD)))
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
