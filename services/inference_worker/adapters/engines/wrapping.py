"""An engine around another one."""

from collections.abc import Mapping

from services.inference_worker.ports import Engine, Listener, Plan, Rendered


class WrappingEngine:
    """An Engine that does all as the one in it does; what is to be different is for its kinds to say."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The engine's."""
        return self._engine.fingerprint

    @property
    def free_inputs(self) -> frozenset[str]:
        """The engine's."""
        return self._engine.free_inputs

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """The engine's plan."""
        return self._engine.plan(inputs)

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video as the engine does."""
        return self._engine.render(inputs, listener, resume_from)

    def make_room(self) -> bool:
        """Take less memory, as the engine does."""
        return self._engine.make_room()
