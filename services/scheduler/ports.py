"""What the scheduler needs from the world."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from services.chassis.errors import Violation
from services.scheduler.domain.fleet import Slot
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.render import Failure, Output, PeakMemory, Phase, Render, RenderEvent, RenderStatus
from services.scheduler.domain.runtime import Runtime


@dataclass(frozen=True)
class Version:
    """A runnable version of the catalogue. `known_targets` are (device, region) of its published figures."""

    slug: str
    model_version: str
    pipeline: str
    weights_repository: str
    weights_revision: str
    weights_dtype: str
    vram_floor_gib: float
    schema: Mapping[str, Any]
    rules: tuple[Rule, ...]
    effects: tuple[Rule, ...]
    known_targets: tuple[tuple[str, str], ...]

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each input."""
        return self.schema.get("properties", {})


class Catalog(Protocol):
    """The catalogue, as far as the scheduler reads it."""

    async def version(self, slug: str, model_version: str | None) -> Version:
        """A version, the default one for None. MODEL_NOT_FOUND, VERSION_NOT_FOUND, SERVICE_UNAVAILABLE."""
        ...


Costs = Mapping[tuple[str, str], tuple[float, float]]
"""Cost in US dollars of a (warm, first cold) request by (device, region)."""


class Estimates(Protocol):
    """What a request would cost."""

    async def request_cost_usd(self, slug: str, model_version: str) -> Costs:
        """What is known of the costs; empty when nobody can say."""
        ...


class InputChecker(Protocol):
    """Checks the inputs of a render one by one against their schemas."""

    def check(self, properties: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Any]) -> list[Violation]:
        """A violation for each input that has the wrong type or is out of bounds, and each bad image."""
        ...


Change = Callable[[Render], Render | None]
"""A pure step of a render; None leaves it as it is."""


@dataclass(frozen=True)
class Page:
    """Some renders, newest first; `next_before` continues the listing, None at its end."""

    renders: Sequence[Render]
    next_before: str | None


class RenderStore(Protocol):
    """Renders, their inputs and their logs. Every change of a render writes its event in the same transaction."""

    async def accept(self, render: Render, inputs: Mapping[str, Any], message: str) -> Render:
        """Store a new render and its first event; durable when it returns.

        When the account has used the idempotency key before, nothing is stored and that render is returned.
        """
        ...

    async def advance(self, render_id: str, change: Change, message: str, *, epoch: int | None = None) -> Render | None:
        """Apply `change` and append the event that says so; None when nothing changed.

        With `epoch`, nothing happens unless the render still has it: this is the fence.
        """
        ...

    async def get(self, account: str, render_id: str) -> Render | None:
        """A render of the account."""
        ...

    async def page(
        self, account: str, *, status: RenderStatus | None, slug: str | None, size: int, before: str | None
    ) -> Page:
        """Renders of the account, newest first, from just before the id `before`."""
        ...

    async def events(self, render_id: str, after_seq: int, limit: int) -> Sequence[RenderEvent]:
        """Events after `after_seq`, in order."""
        ...

    async def inputs(self, render_id: str) -> Mapping[str, Any]:
        """The complete inputs of a render."""
        ...

    async def with_status(self, *statuses: RenderStatus) -> Sequence[Render]:
        """Renders of all accounts in these states, oldest first."""
        ...

    async def queue_position(self, render: Render) -> int:
        """Place of a queued render among all that wait; 1 is next."""
        ...


class RuntimeStore(Protocol):
    """Runtimes, so that a restarted scheduler finds the workers it had."""

    async def save(self, runtime: Runtime) -> None:
        """Store a runtime as it is now."""
        ...

    async def remove(self, runtime_id: str) -> None:
        """Forget a runtime."""
        ...

    async def all(self) -> Sequence[Runtime]:
        """Every stored runtime."""
        ...


@dataclass(frozen=True)
class WorkerProcess:
    """Where a worker serves and which process it is."""

    address: str
    pid: int


class Placer(Protocol):
    """Starts and ends worker processes."""

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves. Raises RuntimeStartFailed."""
        ...

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there and is that worker."""
        ...

    async def terminate(self, runtime_id: str, process: WorkerProcess) -> None:
        """End a worker, kindly first. Returns once it is gone."""
        ...


@dataclass(frozen=True)
class LoadMoment:
    """A moment of a worker's load. The last one is ready or failed."""

    phase: str
    message: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Assignment:
    """What a worker is told to render."""

    render_id: str
    epoch: int
    inputs: Mapping[str, Any]
    output_key: str
    checkpoint_key: str
    fail_when_out_of_memory: bool


@dataclass(frozen=True)
class Made:
    """A video that an attempt has stored, and what the worker knows of how it was made."""

    output: Output
    phase_ms: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    mode: str = ""
    peak_memory: Mapping[str, PeakMemory] = field(default_factory=dict)
    eta_error: float | None = None


@dataclass(frozen=True)
class AttemptMoment:
    """A moment of an attempt. The last one has a result, a failure, or says canceled."""

    seq: int
    phase: Phase
    done_steps: int
    total_steps: int
    fraction: float
    eta_seconds_p50: float | None
    eta_seconds_p90: float | None
    message: str
    pieces: int = 0
    playable_seconds: float = 0.0
    preview_key: str = ""
    checkpoint_key: str = ""
    result: Made | None = None
    failure: Failure | None = None
    canceled: bool = False


@dataclass(frozen=True)
class WorkerState:
    """What a worker says of itself."""

    worker_id: str
    state: str
    slug: str
    model_version: str
    render_id: str


class Workers(Protocol):
    """Talking to workers. Every method raises WorkerLost when the worker does not answer."""

    def load(self, address: str, version: Version) -> AsyncGenerator[LoadMoment, None]:
        """Load a version; the stream ends with ready or failed."""
        ...

    def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run or re-join an attempt; the stream ends with its result."""
        ...

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        """Ask for an attempt to stop."""
        ...

    async def state(self, address: str) -> WorkerState:
        """Ask what the worker is doing; it also tells the worker that somebody cares."""
        ...


class Videos(Protocol):
    """Videos, their pieces and previews, as workers store them."""

    async def open(self, key: str) -> AsyncGenerator[bytes, None] | None:
        """The bytes under a key, in pieces of moderate size; None when nothing is there."""
        ...


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class Listener(Protocol):
    """Somebody who waits for a render's next event."""

    async def heard(self, seconds: float) -> bool:
        """Return True once there was a ring since the last call, or False after `seconds`."""
        ...


class Bell(Protocol):
    """Tells waiting calls that a render has a new event. Hearing nothing proves nothing: the store is the truth."""

    def ring(self, render_id: str) -> None:
        """Wake everybody who listens for the render."""
        ...

    def listening(self, render_id: str) -> AbstractContextManager[Listener]:
        """Listen for a render's rings while the block runs."""
        ...
