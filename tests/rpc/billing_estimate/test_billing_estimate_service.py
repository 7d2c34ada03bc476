"""BillingEstimateService over the wire, asking a real catalogue."""

from typing import Any

import pytest
from forge.billing.v1 import billing_estimate_service_pb2 as pb

from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"

# target: $ an hour, warm seconds, cold start seconds, of SVD and of SkyReels, as published
PUBLISHED = {
    ("B200", "us-central1"): (7.15, (22.0, 7.0), (121, 31.6)),
    ("B300", "uk-south1"): (7.85, (27.6, 5.1), (346, 49.4)),
    ("H200", "eu-north2"): (4.50, (25.3, 5.5), (211, 40.6)),
    ("L40S", "eu-north1"): (1.82, (62.0, 15.3), (661, 49.2)),
    ("RTX6000", "us-central1"): (1.80, (32.3, 6.3), (491, 22.7)),
}


async def _error(call: Any) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        async with errors_of("billing-estimate"):
            await call
    return caught.value


@pytest.mark.parametrize(("slug", "column", "output_seconds"), [(SVD, 1, 25 / 7), (SKYREELS, 2, 97 / 24)])
async def test_every_published_row_is_priced(estimates: Any, slug: str, column: int, output_seconds: float) -> None:
    estimate = await estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=slug))
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


async def test_skyreels_is_cheapest_on_b200_although_rtx6000_has_the_lowest_hour(estimates: Any) -> None:
    estimate = await estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SKYREELS))
    b200, rtx6000 = estimate.targets[:2]
    assert (b200.gpu_type, round(b200.estimated_warm_request_cost_usd, 3)) == ("B200", 0.240)
    assert (rtx6000.gpu_type, round(rtx6000.estimated_warm_request_cost_usd, 4)) == ("RTX6000", 0.2455)
    assert min(estimate.targets, key=lambda target: target.cost_per_gpu_hour_usd) == rtx6000
    assert estimate.lowest_cost_target == estimate.selected_target == estimate.fastest_target == b200
    assert estimate.estimated_warm_request_cost_usd == b200.estimated_warm_request_cost_usd
    assert estimate.estimated_first_cold_request_cost_usd == b200.estimated_first_cold_request_cost_usd


async def test_svd_is_fastest_and_cheapest_on_different_targets(estimates: Any) -> None:
    estimate = await estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD))
    assert estimate.model_version == "img2vid-xt-diffusers"
    assert estimate.fastest_target.gpu_type == "B200"
    assert estimate.lowest_cost_target.gpu_type == estimate.selected_target.gpu_type == "RTX6000"
    assert not estimate.HasField("gpu_type")


async def test_a_pin_selects_its_target(estimates: Any) -> None:
    request = pb.GetRunEstimateRequest(
        slug=SVD, model_version="img2vid-xt-diffusers", gpu_type="L40S", region="eu-north1"
    )
    estimate = await estimates.GetRunEstimate(request)
    assert (estimate.gpu_type, estimate.region) == ("L40S", "eu-north1")
    assert [target.gpu_type for target in estimate.targets] == ["L40S"]
    assert estimate.estimated_warm_request_cost_usd == pytest.approx(62 / 3600 * 1.82, abs=1e-6)
    assert estimate.estimated_first_cold_request_cost_usd == pytest.approx(77.3 / 3600 * 1.82, abs=1e-6)


async def test_what_cannot_be_estimated_says_why(estimates: Any) -> None:
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
        error = await _error(estimates.GetRunEstimate(pb.GetRunEstimateRequest(**request)))
        assert (error.kind, error.reason) == (kind, reason), request


async def test_the_catalogues_own_details_reach_the_caller(estimates: Any) -> None:
    error = await _error(estimates.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD, model_version="none")))
    assert error.metadata == {"known": "img2vid-xt-diffusers"}
    assert error.resource == ("model version", f"{SVD}/none")


async def test_the_price_book_is_listed_in_order(estimates: Any) -> None:
    response = await estimates.ListPrices(pb.ListPricesRequest())
    found = [((price.gpu_type, price.region), price.cost_per_gpu_hour_usd) for price in response.prices]
    assert found == [(target, figures[0]) for target, figures in sorted(PUBLISHED.items())]
    assert all(price.source for price in response.prices)


async def test_estimates_need_the_catalogue_and_prices_do_not(estimates_alone: Any) -> None:
    error = await _error(estimates_alone.GetRunEstimate(pb.GetRunEstimateRequest(slug=SVD)))
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    assert len((await estimates_alone.ListPrices(pb.ListPricesRequest())).prices) == 5
