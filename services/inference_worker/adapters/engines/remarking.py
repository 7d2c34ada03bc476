"""Remarks of the weights on what a render is asked for, beside those of the engine."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from services.inference_worker.ports import Engine, Listener, Plan, Rendered

Remarks = Callable[[Mapping[str, object]], tuple[str, ...]]
"""What the sender of these inputs should know of the weights."""


class RemarkingEngine:
    """An Engine whose plans carry the remarks of its weights as warnings."""

    def __init__(self, engine: Engine, remarks: Remarks) -> None:
        self._engine = engine
        self._remarks = remarks

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The engine's."""
        return self._engine.fingerprint

    @property
    def free_inputs(self) -> frozenset[str]:
        """The engine's."""
        return self._engine.free_inputs

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """The engine's plan, with the remarks on these inputs."""
        plan = self._engine.plan(inputs)
        return replace(plan, warnings=(*plan.warnings, *self._remarks(inputs)))

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video as the engine does."""
        return self._engine.render(inputs, listener, resume_from)

    def make_room(self) -> bool:
        """Take less memory, as the engine does."""
        return self._engine.make_room()
