"""Remarks of the weights on what a render is asked for, beside those of the engine."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from services.inference_worker.adapters.engines.wrapping import WrappingEngine
from services.inference_worker.ports import Engine, Plan

Remarks = Callable[[Mapping[str, object]], tuple[str, ...]]
"""What the sender of these inputs should know of the weights."""


class RemarkingEngine(WrappingEngine):
    """An Engine whose plans carry the remarks of its weights as warnings."""

    def __init__(self, engine: Engine, remarks: Remarks) -> None:
        super().__init__(engine)
        self._remarks = remarks

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """The engine's plan, with the remarks on these inputs."""
        plan = super().plan(inputs)
        return replace(plan, warnings=(*plan.warnings, *self._remarks(inputs)))
