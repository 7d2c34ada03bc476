"""What is on the device when memory is short."""

import pytest
import torch

from services.inference_worker.adapters.engines.offload import Parts

DEVICE = torch.device("meta")  # any other device than the CPU will do


class Part:
    def __init__(self):
        self.place = DEVICE.type

    def to(self, device):
        self.place = device.type


@pytest.fixture
def parts():
    return {"encoder": Part(), "transformer": Part(), "vae": Part()}


def places(parts):
    return {name: part.place for name, part in parts.items()}


def test_nothing_moves_while_memory_suffices(parts):
    with Parts(DEVICE, parts).at_work("vae"):
        assert set(places(parts).values()) == {"meta"}


def test_once_memory_was_short_only_parts_at_work_are_on_the_device(parts):
    subject = Parts(DEVICE, parts)
    assert subject.make_room()
    with subject.at_work("encoder"):
        assert places(parts) == {"encoder": "meta", "transformer": "cpu", "vae": "cpu"}
    with subject.at_work("transformer", "vae"):
        assert places(parts) == {"encoder": "cpu", "transformer": "meta", "vae": "meta"}


def test_room_can_be_made_once(parts):
    subject = Parts(DEVICE, parts)
    assert [subject.make_room(), subject.make_room()] == [True, False]


def test_on_the_cpu_there_is_nowhere_to_go(parts):
    assert not Parts(torch.device("cpu"), parts).make_room()
