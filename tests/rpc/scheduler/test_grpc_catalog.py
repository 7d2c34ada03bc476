"""What the scheduler reads of a real catalogue."""

import pytest

from services.catalog import domain
from services.catalog.adapters.yaml_models import load_models
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.config import REPOSITORY
from services.chassis.errors import ForgeError
from services.chassis.identity import service_caller
from services.chassis.server import serving
from services.scheduler.adapters.grpc_catalog import GrpcCatalog
from services.scheduler.domain.fleet import Fleet, Pin, Slot, Target

WAN = "wan-ai-wan-2-1"
ONE_CPU = Fleet("one", (Slot("cpu", Target("CPU", "local"), "cpu"),))


class OneCpu:
    """The fleet as the catalogue asks for it."""

    async def targets(self):
        return (domain.RouteTarget("CPU", "local", simulated=False, total_slots=1, free_slots=1),)


@pytest.fixture
def models():
    return Catalog(load_models(REPOSITORY / "config" / "models"), OneCpu())


@pytest.fixture
async def catalog(models):
    async with (
        serving("127.0.0.1:0", [mount(models)], grace_seconds=0) as port,
        channel_to(f"127.0.0.1:{port}", service_caller("scheduler")) as channel,
    ):
        yield GrpcCatalog(channel, SystemClock())


@pytest.mark.parametrize(
    ("pin", "reason"),
    [
        (("H200", None), "TARGET_NOT_OFFERED"),
        ((None, "eu-north2"), "TARGET_NOT_OFFERED"),
        (("H2000", None), "UNKNOWN_TARGET"),
        ((None, "mars"), "UNKNOWN_TARGET"),
    ],
)
async def test_a_pin_outside_the_fleet_is_the_same_error_in_both_also_for_a_model_without_figures(
    catalog, models, pin, reason
):
    version = await catalog.version(WAN, None)
    with pytest.raises(ForgeError) as here:
        ONE_CPU.check(Pin(*pin), version.vram_floor_gib, version.known_targets)
    with pytest.raises(ForgeError) as there:
        await models.routes(WAN, "", domain.Pin(*pin))
    assert here.value.reason == there.value.reason == reason


async def test_a_version_and_a_model_that_do_not_exist_are_told_apart(catalog):
    for slug, version, reason in (("nobody", None, "MODEL_NOT_FOUND"), (WAN, "v9", "VERSION_NOT_FOUND")):
        with pytest.raises(ForgeError) as refused:
            await catalog.version(slug, version)
        assert refused.value.reason == reason
