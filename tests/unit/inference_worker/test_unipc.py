"""UniPC solvers: what one for several frames does, and how one is put to rest."""

import copy

import pytest
import torch
from safetensors.torch import load, save

from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.unipc import at_rest, new_solver, predicted_clean, wake

STEPS = 7


@pytest.fixture(scope="module")
def scheduler():
    return diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0)


def noise(seed):
    return torch.randn(1, 16, 5, 6, 4, generator=torch.Generator().manual_seed(seed))


def stepped(solver, latents, steps):
    """Steps in place, as the pipeline does it."""
    for step in steps:
        timestep = solver.timesteps[step]
        latents.copy_(solver.step(noise(100 + step), timestep, latents, return_dict=False)[0])
    return latents


def as_the_pipeline_steps(scheduler, latents):
    """With a scheduler for each frame, whose latents it changes in place."""
    schedulers = [copy.deepcopy(scheduler) for _ in range(latents.shape[2])]
    for each in schedulers:
        each.set_timesteps(STEPS)
    for step in range(STEPS):
        for frame, each in enumerate(schedulers):
            latents[:, :, frame] = each.step(
                noise(100 + step)[:, :, frame], each.timesteps[step], latents[:, :, frame], return_dict=False
            )[0]
    return latents


def test_one_solver_for_several_frames_is_one_for_each_bit_for_bit(scheduler):
    solver = new_solver(scheduler, STEPS)
    assert torch.equal(stepped(solver, noise(1), range(STEPS)), as_the_pipeline_steps(scheduler, noise(1)))


def test_latents_that_are_not_changed_in_place_come_out_otherwise(scheduler):
    # The first step keeps a view of what it was given, and the second reads what the first has written there.
    solver, latents = new_solver(scheduler, STEPS), noise(1)
    for step in range(STEPS):
        latents = solver.step(noise(100 + step), solver.timesteps[step], latents, return_dict=False)[0]
    assert not torch.allclose(latents, as_the_pipeline_steps(scheduler, noise(1)))


@pytest.mark.parametrize("done", range(STEPS + 1))
def test_a_solver_goes_on_where_another_was_put_to_rest(scheduler, done):
    whole = stepped(new_solver(scheduler, STEPS), noise(1), range(STEPS))
    first, second = new_solver(scheduler, STEPS), new_solver(scheduler, STEPS)
    latents = stepped(first, noise(1), range(done))
    tensors, facts = at_rest(first)
    wake(second, load(save(tensors | {"latents": latents})), facts)
    assert torch.equal(stepped(second, latents.clone(), range(done, STEPS)), whole)


def test_the_scheduler_it_is_made_of_stays_as_it_is(scheduler):
    before = {name: str(value) for name, value in vars(scheduler).items()}
    stepped(new_solver(scheduler, STEPS), noise(1), range(3))
    assert {name: str(value) for name, value in vars(scheduler).items()} == before


def test_it_tells_the_clean_latents_it_expects(scheduler):
    solver, latents = new_solver(scheduler, STEPS), noise(1)
    expected = latents - solver.sigmas[0] * noise(100)
    stepped(solver, latents, [0])
    assert torch.equal(predicted_clean(solver), expected)
