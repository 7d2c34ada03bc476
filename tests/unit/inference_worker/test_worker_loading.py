"""What the worker promises about loads."""

import asyncio

import pytest

from services.inference_worker.domain.attempt import Failure
from services.inference_worker.domain.errors import WeightsUnavailable, WorkerBusy
from services.inference_worker.domain.version import StartPhase, WorkerState


async def test_nothing_can_be_rendered_before_a_version_is_loaded(a_bench):
    bench = a_bench()
    assert (await bench.worker.status()).state is WorkerState.EMPTY
    with pytest.raises(WorkerBusy):
        await bench.render()


async def test_loading_what_is_loaded_answers_ready_at_once(bench, a_version):
    events = await bench.load(a_version("svd"))
    assert [event.moment.phase for event in events] == [StartPhase.READY]
    assert events[0].load_ms is not None
    assert bench.loader.loads == 1


async def test_another_version_is_refused(bench, a_version):
    with pytest.raises(WorkerBusy):
        await bench.load(a_version("skyreels"))


async def test_everybody_who_waits_for_a_load_sees_all_of_it(a_bench, a_version):
    bench = a_bench()

    async def follow():
        return [event.moment.phase async for event in bench.worker.load(a_version("svd"))]

    first, second = await asyncio.gather(follow(), follow())
    assert first == second == [StartPhase.IMPORTS, StartPhase.WEIGHTS, StartPhase.READY]
    assert bench.loader.loads == 1


async def test_a_failed_load_says_why_and_can_be_tried_again(a_bench, a_version):
    bench = a_bench()
    bench.loader.fails_with = WeightsUnavailable("no weights here")
    events = await bench.load(a_version("svd"))
    assert events[-1].moment.phase is StartPhase.FAILED
    assert events[-1].failure == Failure("WEIGHTS_UNAVAILABLE", "no weights here", False)
    assert (await bench.worker.status()).state is WorkerState.FAILED
    bench.loader.fails_with = None
    events = await bench.load(a_version("svd"))
    assert events[-1].moment.phase is StartPhase.READY
