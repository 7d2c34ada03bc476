"""The fleet's page."""

from typing import Any

import pytest
from forge.catalog.v1 import catalog_service_pb2, measurement_pb2, model_pb2
from forge.common.v1 import target_pb2
from forge.scheduler.v1 import probe_pb2, probe_service_pb2, runtime_pb2, runtime_service_pb2

from tests.unit.web.conftest import Browser
from tests.unit.web.fake_platform import SERVICES, Platform
from tests.unit.web.markup import faults, read

ALL = {"catalog", "scheduler", "billing-estimate", "accounts"}


def a_failure(slug: str, at: str, **given: Any) -> measurement_pb2.Measurement:
    facts: dict[str, Any] = {"outcome": "failed", "reason": "OUT_OF_MEMORY", "gpu_type": "H200", "region": "north"}
    found = measurement_pb2.Measurement(slug=slug, model_version="v1", **(facts | given))
    found.measured_at.FromJsonString(at)
    return found


def family(request: runtime_service_pb2.GetFamilyStatusRequest) -> runtime_service_pb2.FamilyStatus:
    runtime = runtime_pb2.Runtime(
        id=request.slug,
        slug=request.slug,
        version=request.version,
        gpu_type="H200",
        region="north",
        status="warm",
        idle_release_seconds=125,
    )
    return runtime_service_pb2.FamilyStatus(slug=request.slug, version=request.version, runtimes=[runtime])


def measured(request: catalog_service_pb2.ListMeasurementsRequest) -> catalog_service_pb2.ListMeasurementsResponse:
    found = {
        "toy": [a_failure("toy", "2026-11-27T10:00:00Z", simulated=True), a_failure("toy", "2026-11-01T10:00:00Z")],
        "other": [a_failure("other", "2026-11-26T10:00:00Z", outcome="lost", reason="WORKER_LOST")],
    }
    return catalog_service_pb2.ListMeasurementsResponse(measurements=found[request.slug])


@pytest.fixture
def platform() -> Platform:
    circuit = runtime_pb2.OpenCircuit(slug="toy", version="v1", message="its renders kept losing workers")
    circuit.until.FromJsonString("2026-11-27T12:30:00Z")
    target = runtime_pb2.TargetCapacity(
        gpu_type="H200",
        region="north",
        simulated=True,
        total_slots=3,
        free_slots=1,
        idle_runtimes=2,
        queued_renders=4,
        queued_gpu_seconds=115,
        open_circuits=[circuit],
    )
    probe = probe_pb2.Probe(
        id="prb_1",
        slug="toy",
        model_version="v1",
        status="running",
        message="renders the example",
        target=target_pb2.Target(gpu_type="H200", region="north"),
    )
    probe.created_at.FromJsonString("2026-11-27T11:00:00Z")
    return Platform(
        answers={
            "GetCapacity": runtime_service_pb2.GetCapacityResponse(targets=[target]),
            "ListModels": catalog_service_pb2.ListModelsResponse(
                models=[
                    model_pb2.Model(slug=slug, versions=[model_pb2.ModelVersion(version="v1")])
                    for slug in ("toy", "other")
                ]
            ),
            "GetFamilyStatus": family,
            "ListMeasurements": measured,
            "ListProbes": lambda request: probe_service_pb2.ListProbesResponse(
                probes=[probe] if request.status == "running" else []
            ),
        }
    )


async def test_a_visitor_sees_the_fleet(browser: Browser) -> None:
    answer = await browser.open("/status")
    text = read(answer.text).text

    assert answer.status_code == 200
    assert "2 of 3 slots in use" in text
    assert "0 rendering, 2 idle" in text
    assert "4 renders queued for it, about 1 min 55 s of work" in text
    assert "freed in 2 min" in text
    assert "spared toy v1 until 2026-11-27 12:30:00 : its renders kept losing workers" in text
    assert answer.text.count("slot slot-warm") == 3  # two slots and the legend


async def test_what_is_absent_is_told_where_there_is_such_a_slot(browser: Browser, platform: Platform) -> None:
    assert "absent" not in (await browser.open("/status")).text
    target = runtime_pb2.TargetCapacity(gpu_type="H200", region="north", total_slots=3, free_slots=1, absent_slots=1)
    platform.answers["GetCapacity"] = runtime_service_pb2.GetCapacityResponse(targets=[target])
    text = read((await browser.open("/status")).text).text

    assert "1 of 3 slots in use, 1 absent" in text
    assert "absent: its machine is not there" in text


async def test_where_the_catalogue_is_private_a_visitor_is_sent_to_sign_in(browser: Browser) -> None:
    answer = await browser.open("/status", public_catalogue=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fstatus")
    assert (await browser.open("/status", scopes="read", public_catalogue=False)).status_code == 200


async def test_failures_of_all_models_are_shown_newest_first_with_reason_and_target(browser: Browser) -> None:
    text = read((await browser.open("/status")).text).text

    first, second, third = (text.index(f"{day} 10:00:00") for day in ("2026-11-27", "2026-11-26", "2026-11-01"))
    assert first < second < third
    assert "H200 in north simulated failed out of memory" in text
    assert "H200 in north lost worker lost" in text


async def test_probes_are_shown_to_those_who_may_see_them(browser: Browser) -> None:
    assert "Probes under way" not in (await browser.open("/status")).text
    assert "Probes under way" not in (await browser.open("/status", scopes="inference")).text
    assert "renders the example" in (await browser.open("/status", scopes="admin")).text


@pytest.mark.parametrize("away", SERVICES)
async def test_a_service_that_does_not_answer_is_said_so_and_costs_only_its_section(
    browser: Browser, away: str
) -> None:
    answer = await browser.open("/status", scopes="admin", away=[away])
    text = read(answer.text).text

    assert answer.status_code == 200
    for name in ALL:
        is_away = name == away.replace("_", "-")
        assert (f"{name} does not answer" in text) is is_away
        assert (f"{name} answers" in text) is not is_away
    assert ("2 of 3 slots in use" in text) is (away != "scheduler")
    assert ("out of memory" in text) is (away != "catalog")
    assert faults(answer.text) == []


async def test_the_page_says_so_where_nothing_answers(browser: Browser) -> None:
    answer = await browser.open("/status", away=SERVICES)

    assert answer.status_code == 200
    assert read(answer.text).text.count("does not answer") >= 4
    assert "None among the last" not in answer.text


@pytest.mark.parametrize("scopes", ["", "admin"])
async def test_the_page_is_well_made(browser: Browser, scopes: str) -> None:
    assert faults((await browser.open("/status", scopes=scopes)).text) == []
