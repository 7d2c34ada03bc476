"""What the catalogue knows of prices, from a price book on a real port."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator

import pytest
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc
from forge.billing.v1 import estimate_pb2

from services.catalog.adapters.grpc_prices import FRESH_SECONDS, RETRY_SECONDS, GrpcPrices
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.errors import ServiceUnavailable
from services.chassis.identity import service_caller
from services.chassis.server import Mount, serving


class HandClock(SystemClock):
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


class ChangingPrices(rpc.BillingEstimateServiceServicer):
    """Another price at each call, none while it is away."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_away = False

    async def ListPrices(self, request, context):  # noqa: N802 — the contract's spelling
        self.calls += 1
        if self.is_away:
            raise ServiceUnavailable("the store")
        price = estimate_pb2.Price(gpu_type="L40S", region="uk", cost_per_gpu_hour_usd=self.calls)
        return pb.ListPricesResponse(prices=[price])


@pytest.fixture
def book() -> ChangingPrices:
    return ChangingPrices()  # pyright: ignore[reportAbstractUsage] — what it does not implement nobody calls here


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def prices(book: ChangingPrices, clock: HandClock) -> AsyncIterator[GrpcPrices]:
    service = pb.DESCRIPTOR.services_by_name["BillingEstimateService"]
    mounted = Mount(service, rpc.add_BillingEstimateServiceServicer_to_server, book)
    async with (
        serving("127.0.0.1:0", [mounted], grace_seconds=0) as port,
        channel_to(f"127.0.0.1:{port}", service_caller("catalog")) as channel,
    ):
        yield GrpcPrices(channel, clock, deadline_seconds=5.0)


async def test_prices_are_remembered_for_ten_seconds(prices: GrpcPrices, clock: HandClock) -> None:
    assert await prices.per_hour() == {("L40S", "uk"): 1.0}
    clock.seconds += FRESH_SECONDS - 1
    assert await prices.per_hour() == {("L40S", "uk"): 1.0}
    clock.seconds += 1
    assert await prices.per_hour() == {("L40S", "uk"): 2.0}


async def test_while_nobody_can_say_there_are_no_prices_and_it_is_soon_asked_again(
    prices: GrpcPrices, book: ChangingPrices, clock: HandClock
) -> None:
    book.is_away = True
    assert await prices.per_hour() == await prices.per_hour() == {}
    assert book.calls == 1
    book.is_away = False
    clock.seconds += RETRY_SECONDS
    assert await prices.per_hour() == {("L40S", "uk"): 2.0}
