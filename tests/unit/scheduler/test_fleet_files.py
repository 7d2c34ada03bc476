"""Fleet files and what they offer."""

import pytest

from services.chassis.config import REPOSITORY
from services.chassis.strict_yaml import ConfigurationInvalid
from services.scheduler.adapters.yaml_fleet import gpu_type_of, read_fleet
from services.scheduler.domain.errors import TargetNotOffered
from services.scheduler.domain.fleet import Fleet, Pin, Requirements, Slot, Target

CONFIG = REPOSITORY / "config"


async def refused(file, text, problem, *, on_cluster=False):
    """A file with this text is refused by its name, with what is wrong with it."""
    file.write_text(text)
    with pytest.raises(ConfigurationInvalid, match=problem) as found:
        await read_fleet(str(file), CONFIG, on_cluster=on_cluster)
    assert str(file) in str(found.value)


async def test_the_fleet_of_the_pages_has_their_six_targets_simulated():
    fleet = await read_fleet("pages", CONFIG)
    assert [str(target) for target in fleet.targets] == [
        "B200@us-central1",
        "B300@uk-south1",
        "H100@eu-north1",
        "H200@eu-north2",
        "L40S@eu-north1",
        "RTX6000@us-central1",
    ]
    assert all(slot.target.simulated and slot.device == "cpu" for slot in fleet.slots)


async def test_the_local_fleet_is_never_empty():
    fleet = await read_fleet("local", CONFIG)
    assert fleet.slots
    assert {slot.target.region for slot in fleet.slots} == {"local"}


async def test_real_slots_are_numbered_as_devices_in_the_order_of_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "slots:\n"
        "- {gpu_type: H200, region: here, count: 2, memory_gib: 141}\n"
        "- {gpu_type: L40S, region: here, memory_gib: 48}\n"
    )
    fleet = await read_fleet(str(file), CONFIG)
    assert [slot.device for slot in fleet.slots] == ["cuda:0", "cuda:1", "cuda:2"]


async def test_each_slot_has_a_name_of_its_own_also_where_two_lines_offer_the_same_target(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("slots:\n" + "- {gpu_type: H200, region: here, count: 2}\n" * 2)
    fleet = await read_fleet(str(file), CONFIG)
    assert len({slot.id for slot in fleet.slots}) == 4


async def test_slots_of_a_cluster_are_on_machines_with_the_labels_that_the_file_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "slots:\n"
        "- {gpu_type: H200, region: north, count: 2}\n"
        "- {gpu_type: L40S, region: south, ray_labels: {pool: cheap}, ray_resources: {GPU: 1, CPU: 4}}\n"
        "- {gpu_type: B200, region: west, simulated: true, ray_labels: {}}\n"
    )
    fleet = await read_fleet(str(file), CONFIG, on_cluster=True)
    assert [(slot.device, slot.requirements) for slot in fleet.slots] == [
        *2
        * [
            (
                "cuda:0",
                Requirements(
                    (("ray.io/accelerator-type", "H200"), ("ray.io/availability-region", "north")), (("GPU", 1),)
                ),
            )
        ],
        ("cuda:0", Requirements((("pool", "cheap"),), (("CPU", 4), ("GPU", 1)))),
        ("cpu", Requirements((), (("CPU", 1),))),
    ]
    assert {slot.requirements for slot in (await read_fleet(str(file), CONFIG)).slots} == {Requirements()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("discover: true", "list the slots of the Ray cluster"),
        ("slots: [{gpu_type: H200, region: x, ray_labels: {zone: '!north'}}]", "ray_labels"),
        ("slots: [{gpu_type: H200, region: x, ray_labels: {'a b': north}}]", "ray_labels"),
        ("slots: [{gpu_type: H200, region: x, ray_resources: {GPU: 0}}]", "ray_resources"),
    ],
)
async def test_a_fleet_file_that_no_cluster_can_serve_is_named_with_its_problem(tmp_path, text, problem):
    await refused(tmp_path / "mine.yaml", text, problem, on_cluster=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("slots: [{gpu_type: H200}]", "region"),
        ("slots: [{gpu_type: H200, region: x, colour: red}]", "colour"),
        ("slots: []", "at least one slot"),
        ("slots: [", "mine.yaml:1: expected the node content"),
    ],
)
async def test_a_fleet_file_that_cannot_be_used_is_named_with_its_problem(tmp_path, text, problem):
    await refused(tmp_path / "mine.yaml", text, problem)


async def test_an_unknown_fleet_names_those_there_are():
    with pytest.raises(ConfigurationInvalid, match="local, pages"):
        await read_fleet("moon", CONFIG)


def test_a_version_goes_only_where_its_memory_floor_fits():
    small, large = Target("L40S", "x"), Target("H200", "x")
    fleet = Fleet("f", (Slot("a", small, "cuda:0", 48), Slot("b", large, "cuda:1", 141)))
    assert [slot.id for slot in fleet.slots_for(Pin(), 80)] == ["b"]
    with pytest.raises(TargetNotOffered, match="H200@x"):
        fleet.check(Pin("L40S"), 80, ())


@pytest.mark.parametrize(
    ("product", "gpu_type"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX6000"),
        ("NVIDIA B200", "B200"),
    ],
)
def test_products_are_called_by_their_short_names(product, gpu_type):
    assert gpu_type_of(product) == gpu_type


async def test_the_fleet_of_the_pages_asks_a_cluster_for_devices_by_the_names_that_ray_finds_out():
    fleet = await read_fleet("pages", CONFIG, on_cluster=True)
    wanted = {slot.target.gpu_type: dict(slot.requirements.labels)["ray.io/accelerator-type"] for slot in fleet.slots}
    own = {name: name for name in ("B200", "B300", "H100", "H200", "L40S")}
    assert wanted == own | {"RTX6000": "RTX-PRO-6000"}
