"""A render does not run far ahead of its device."""

import pytest
import torch

from services.inference_worker.adapters.engines.leash import Leash, leash_on
from services.inference_worker.domain.errors import RenderStopped


class Device:
    """Does its work only when somebody waits for it."""

    def __init__(self):
        self.given = self.done = 0

    def mark(self):
        self.given += 1
        return Mark(self, self.given)


class Mark:
    def __init__(self, device, place):
        self._device = device
        self._place = place

    def synchronize(self):
        self._device.done = max(self._device.done, self._place)


def test_the_device_is_never_more_than_two_layers_behind_and_never_out_of_work():
    device = Device()
    leash = Leash(lambda: None, device.mark)
    behind = []
    for _ in range(6):
        leash()
        behind.append(device.given - device.done)
    assert behind == [1, 2, 2, 2, 2, 2]


def test_a_stop_is_felt_at_the_next_layer():
    def stopped():
        raise RenderStopped

    with pytest.raises(RenderStopped):
        Leash(stopped, Device().mark)()


def test_where_work_is_done_at_once_no_leash_is_needed():
    def check():
        raise RenderStopped

    assert leash_on(torch.device("cpu"), check) is check
