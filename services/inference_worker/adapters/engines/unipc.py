"""UniPC solvers: one for each part of a video that is denoised at its own pace, and how to put one to rest."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

_OUTPUT = "output"
_LAST_SAMPLE = "last_sample"


def new_solver(scheduler: Any, num_inference_steps: int) -> Any:
    """A `UniPCMultistepScheduler` like `scheduler`, which stays as it is, ready for its first step.

    It may be given the latents of any number of frames, of shape (1, channels, frames, h, w): each frame comes out as
    from a solver of its own, bit for bit.
    """
    solver = copy.deepcopy(scheduler)
    solver.set_timesteps(num_inference_steps)
    solver.set_begin_index(0)  # spares it a look for its first timestep, which would wait for the device
    return solver


def at_rest(solver: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a solver knows between two steps: tensors by name, and facts that JSON can hold. Both are empty at first."""
    if solver.step_index is None:
        return {}, {}
    tensors = {
        f"{_OUTPUT}.{number}": output for number, output in enumerate(solver.model_outputs) if output is not None
    }
    # A copy: after the first step it is a view of the latents, and no file holds the same memory twice.
    tensors[_LAST_SAMPLE] = solver.last_sample.clone()
    facts = {
        "step_index": solver.step_index,
        "lower_order_nums": solver.lower_order_nums,
        "this_order": solver.this_order,
    }
    return tensors, facts


def wake(solver: Any, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Bring a new solver to where another was put to rest. The tensors are the solver's from here on."""
    if not facts:
        return
    solver.model_outputs = [tensors.get(f"{_OUTPUT}.{number}") for number in range(len(solver.model_outputs))]
    solver.last_sample = tensors[_LAST_SAMPLE]
    solver._step_index = facts["step_index"]
    solver.lower_order_nums = facts["lower_order_nums"]
    solver.this_order = facts["this_order"]


def predicted_clean(solver: Any) -> torch.Tensor:
    """The clean latents that the last step expected, in the shape of what it was given."""
    return solver.model_outputs[-1]
