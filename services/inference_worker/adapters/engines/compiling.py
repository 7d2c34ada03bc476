"""Compiled kernels for an engine: none in its first render, which somebody waits for, and from then on always."""

import os
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import structlog
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from services.inference_worker.adapters.engines.state import unpack
from services.inference_worker.adapters.engines.wrapping import WrappingEngine
from services.inference_worker.domain.errors import CheckpointRefused
from services.inference_worker.ports import Engine, Listener, Plan, Rendered

log = structlog.get_logger()

EAGER, COMPILED = "eager", "compiled"

Region = Callable[..., Any]

# One kernel for each size: one for all sizes would make other bits than one for the size at hand, so that a video
# would depend on the sizes of those before it. Renders have few sizes, those in blocks a handful each.
_KERNELS_PER_REGION = 1024


class Compilable(Engine, Protocol):
    """An engine with parts worth compiling. Its `fingerprint` is the very mapping it was made with."""

    def compile_regions(self, compile: Callable[[Region], Region]) -> None:  # noqa: A002 — it is what it does
        """Replace each such part by what `compile` makes of it. They are pure functions without branches on values."""
        ...


def prepare_compiler(cache_dir: Path) -> None:
    """Set what torch's compiler keeps for the whole process: where its results are kept, and that they are repeatable.

    Processes with the same fingerprint may share a directory, at the same time too.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir)
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = _KERNELS_PER_REGION
    torch._dynamo.config.accumulated_recompile_limit = _KERNELS_PER_REGION
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._inductor.config.deterministic = True


def compile_whole(region: Region) -> Region:
    """The region as one piece, with kernels for each size it is called with."""
    return torch.compile(region, fullgraph=True, dynamic=False)


class CompilingEngine(WrappingEngine):
    """An Engine whose first render is eager and whose later ones are compiled.

    A render is one or the other as a whole, and goes on from a checkpoint as it began: what is eager and what is
    compiled differ in the last bits. The fingerprint says which the render under way is, or else the last one was.

    `facts` is the fingerprint that the engine was made with.
    """

    def __init__(
        self,
        engine: Compilable,
        facts: MutableMapping[str, str],
        compiled: Callable[[Region], Region] = compile_whole,
    ) -> None:
        super().__init__(engine)
        self._facts = facts
        self._compiled = compiled
        self._made_one = False
        self._can_compile = True
        self._known_sizes: set[object] = set()
        engine.compile_regions(self._either)

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """The engine's plan, and what compiling does to it."""
        plan = super().plan(inputs)
        if self._kernels_for_new() == EAGER:
            # Whether it goes on from a checkpoint is not known here.
            note = "made without compiled kernels, unless it was begun with them elsewhere"
        elif _size(plan) not in self._known_sizes:
            note = "the first video of its size with compiled kernels: compiling them takes part of its time"
        else:
            return plan
        return replace(plan, warnings=(*plan.warnings, note))

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video as the engine does."""
        kernels = self._kernels_of(resume_from, inputs) if resume_from else self._kernels_for_new()
        self._facts["kernels"] = kernels
        rendered = super().render(inputs, listener, resume_from)
        self._made_one = True
        if self._facts["kernels"] == COMPILED:
            self._known_sizes.add(_size(super().plan(inputs)))
        return rendered

    def _kernels_for_new(self) -> str:
        return COMPILED if self._made_one and self._can_compile else EAGER

    def _kernels_of(self, checkpoint: bytes, inputs: Mapping[str, object]) -> str:
        """The kernels that a checkpoint was made with."""
        for kernels in (EAGER, COMPILED):
            with suppress(CheckpointRefused):
                unpack(checkpoint, {**self._facts, "kernels": kernels}, inputs, free=self.free_inputs)
                return kernels
        return EAGER  # the engine refuses it, and says why

    def _either(self, region: Region) -> Region:
        compiled = self._compiled(region)

        @wraps(region)
        def either(*args: Any, **kwargs: Any) -> Any:
            if self._facts["kernels"] == COMPILED:
                try:
                    return compiled(*args, **kwargs)
                except (TorchDynamoException, FailOnRecompileLimitHit) as error:
                    self._give_up(error)
            return region(*args, **kwargs)

        return either

    def _give_up(self, error: Exception) -> None:
        """Compiling must never cost a render: this one goes on eagerly, under a fingerprint that fits no other."""
        log.error("kernels cannot be compiled; going on without", error=type(error).__name__)
        self._can_compile = False
        self._facts["kernels"] = f"compiled in part, once ({secrets.token_hex(8)})"


def _size(plan: Plan) -> object:
    return plan.width, plan.height, plan.num_frames, plan.mode
