"""Searching models and checking selections."""

import pytest

from services.catalog.domain import Model, ModelNotFound, Pin, Search, TargetNotOffered, VersionNotFound
from services.catalog.usecases import Catalog
from services.chassis.errors import InvalidInput, ServiceUnavailable
from services.chassis.known import UnknownTarget

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"
PAGES = (
    "B200@us-central1",
    "B300@uk-south1",
    "H100@eu-north1",
    "H200@eu-north2",
    "L40S@eu-north1",
    "RTX6000@us-central1",
)


@pytest.fixture
def catalog(shipped_models: tuple[Model, ...], fleet_of: type) -> Catalog:
    return Catalog(shipped_models, fleet_of(*PAGES))


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), [SKYREELS, SVD, WAN]),
        (Search(query="SKYREELS 540P"), [SKYREELS]),
        (Search(query="diffusion image-to-video"), [SVD]),
        (Search(query="diffusion nonsense"), []),
        (Search(modality="video"), [SKYREELS, SVD, WAN]),
        (Search(modality="image"), [SVD]),
        (Search(modality="audio"), []),
        (Search(tag="text-to-video"), [SKYREELS, WAN]),
        (Search(tag="text"), []),
        (Search(query="skyreels", tag="image-to-video"), []),
    ],
)
def test_a_search_finds_models_that_have_every_word_and_filter(
    catalog: Catalog, search: Search, found: list[str]
) -> None:
    page = catalog.search(search)
    assert [model.slug for model in page.models] == found
    assert page.total_size == len(found)


def test_pages_join_to_the_whole_list(catalog: Catalog) -> None:
    first = catalog.search(Search(), page_size=2)
    second = catalog.search(Search(), page_size=2, page_token=first.next_page_token)
    assert [[model.slug for model in page.models] for page in (first, second)] == [[SKYREELS, SVD], [WAN]]
    assert (first.total_size, second.total_size, second.next_page_token) == (3, 3, "")


def test_a_wrong_page_size_and_a_foreign_token_are_told_at_once(catalog: Catalog) -> None:
    for size in (-1, 101):
        for token in ("%", "Zm9v", "ä"):
            with pytest.raises(InvalidInput) as caught:
                catalog.search(Search(), page_size=size, page_token=token)
            assert [violation.field for violation in caught.value.violations] == ["page_size", "page_token"]


def test_an_unknown_model_is_named_and_a_close_one_proposed(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFound, match="did you mean 'skywork-skyreels-v2'") as caught:
        catalog.model("skyreels-v2")
    assert caught.value.resource == ("model", "skyreels-v2")
    with pytest.raises(ModelNotFound, match=r"^there is no model 'zzz'$"):
        catalog.model("zzz")


def test_no_version_is_the_default_and_an_unknown_one_lists_the_known(catalog: Catalog) -> None:
    assert catalog.inputs(SKYREELS, "")[0] == "df-1-3b-540p-diffusers"
    with pytest.raises(VersionNotFound) as caught:
        catalog.inputs(SKYREELS, "v3")
    assert caught.value.metadata == {"known": "df-1-3b-540p-diffusers"}


@pytest.mark.parametrize(
    ("gpu_type", "region", "targets"),
    [
        (None, None, list(PAGES)),
        ("L40S", "eu-north1", ["L40S@eu-north1"]),
        (None, "us-central1", ["B200@us-central1", "RTX6000@us-central1"]),
        ("H100", None, ["H100@eu-north1"]),
    ],
)
async def test_a_selection_matches_the_targets_its_pin_admits(
    catalog: Catalog, gpu_type: str | None, region: str | None, targets: list[str]
) -> None:
    routes = await catalog.routes(SVD, "", Pin(gpu_type, region))
    assert [target.name for target in routes.targets] == targets
    assert routes.route.path == f"/v1/inference/{SVD}"


async def test_an_unknown_device_and_region_are_told_at_once_with_the_known_ones(catalog: Catalog) -> None:
    with pytest.raises(UnknownTarget) as caught:
        await catalog.routes(SVD, "", Pin("h200", "mars"))
    assert [violation.field for violation in caught.value.violations] == ["gpu_type", "region"]
    assert "did you mean 'H200'?" in caught.value.message
    assert caught.value.metadata["known"].split(",") == sorted(PAGES)


async def test_a_known_target_that_the_fleet_lacks_is_not_offered(
    shipped_models: tuple[Model, ...], fleet_of: type
) -> None:
    catalog = Catalog(shipped_models, fleet_of("CPU@local"))
    for pin in (Pin("H200", "eu-north2"), Pin("H200", None), Pin("H200", "local"), Pin("CPU", "eu-north2")):
        with pytest.raises(TargetNotOffered) as caught:
            await catalog.routes(SVD, "", pin)
        assert caught.value.metadata == {"offered": "CPU@local"}
    assert len((await catalog.routes(SVD, "", Pin("CPU", "local"))).targets) == 1


async def test_a_fleet_without_slots_still_tells_how_to_call(shipped_models: tuple[Model, ...], fleet_of: type) -> None:
    assert (await Catalog(shipped_models, fleet_of()).routes(SVD, "", Pin(None, None))).targets == ()


async def test_the_model_and_version_are_checked_before_the_fleet_is_asked(shipped_models: tuple[Model, ...]) -> None:
    class SilentFleet:
        async def targets(self):
            raise ServiceUnavailable("scheduler")

    catalog = Catalog(shipped_models, SilentFleet())
    with pytest.raises(ModelNotFound):
        await catalog.routes("none", "", Pin("B2000", None))
    with pytest.raises(VersionNotFound):
        await catalog.routes(SVD, "none", Pin("B2000", None))
    with pytest.raises(ServiceUnavailable):
        await catalog.routes(SVD, "", Pin("B2000", None))
