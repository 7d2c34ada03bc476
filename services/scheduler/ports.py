"""What the scheduler needs from the world."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from services.chassis.errors import Violation
from services.scheduler.domain.facts import Failure, Output, PeakMemory, Phase
from services.scheduler.domain.fleet import Machine, Slot
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.domain.runtime import Runtime
from services.scheduler.domain.trace import ToldSpans


@dataclass(frozen=True)
class Version:
    """A runnable version of the catalogue. `known_targets` are (device, region) of all figures of the catalogue."""

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
    max_run_seconds: float = 3600.0
    example: Mapping[str, Any] = field(default_factory=dict)
    """A request body that runs as it stands."""
    probe_inputs: tuple[Mapping[str, Any], ...] = ()
    """What a probe renders besides the example: inputs in place of the example's."""

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each input."""
        return self.schema.get("properties", {})


class Catalog(Protocol):
    """The catalogue, as far as the scheduler reads it."""

    async def version(self, slug: str, model_version: str | None) -> Version:
        """A version, the default one for None. MODEL_NOT_FOUND, VERSION_NOT_FOUND, SERVICE_UNAVAILABLE."""
        ...


@dataclass(frozen=True)
class Estimate:
    """What a request takes and costs on one target, as far as the estimates know.

    `rests_on_runs` when the times follow from runs on this target, and not from figures of others.
    """

    request_seconds: float | None = None
    request_seconds_p90: float | None = None
    rests_on_runs: bool = False
    start_seconds: float | None = None
    warm_usd: float | None = None
    cold_usd: float | None = None
    usd_per_hour: float | None = None


EstimatesByTarget = Mapping[tuple[str, str], Estimate]
"""By (device, region)."""


class Estimates(Protocol):
    """What a request would take and cost."""

    async def of(self, slug: str, model_version: str, shape: Mapping[str, Any] | None = None) -> EstimatesByTarget:
        """What is known of a version with inputs of this shape, or with its example's; empty when nobody can say."""
        ...


class Spans(Protocol):
    """What was told of renders while it happened."""

    async def of_render(self, trace_id: str, render_id: str) -> ToldSpans:
        """The spans of a render that are kept. SERVICE_UNAVAILABLE."""
        ...


@dataclass(frozen=True)
class ProcessFigures:
    """What a process has: memory, and cores that it keeps busy."""

    memory_bytes: int = 0
    cores: float = 0.0


class Processes(Protocol):
    """Processes of this machine, and its disk."""

    def figures(self, pid: int) -> ProcessFigures:
        """Of one process; nothing of one that is gone."""
        ...

    def free_disk_bytes(self) -> int:
        """Room for what the installation keeps."""
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
    """Some renders; the listing goes on beyond the id `next_beyond`, None at its end."""

    renders: Sequence[Render]
    next_beyond: str | None


@dataclass(frozen=True)
class Written:
    """A render after a change, and the event of its log that says so."""

    render: Render
    event: RenderEvent


class RenderStore(Protocol):
    """Renders, their inputs and their logs. Every change of a render writes its event in the same transaction.

    Every method raises StoreUnavailable when the store cannot be read or written now; then nothing has happened.
    """

    async def accept(
        self, render: Render, inputs: Mapping[str, Any], message: str, *, keys_since: datetime
    ) -> Written | Render:
        """Store a new render and its first event; durable when it returns.

        When the account has used the idempotency key before, nothing is stored and that render is returned. Keys of
        renders accepted before `keys_since` are forgotten, but those of retries.
        """
        ...

    async def with_key(self, account: str, key: str | None, *, keys_since: datetime) -> Render | None:
        """The render that an idempotency key made; None for a key that is not known or no longer remembered."""
        ...

    async def advance(
        self, render_id: str, change: Change, message: str, *, epoch: int | None = None
    ) -> Written | None:
        """Apply `change` and append the event that says so; None when nothing changed.

        With `epoch`, nothing happens unless the render still has it: this is the fence.
        """
        ...

    async def renew(self, render_id: str, epoch: int, lease_until: datetime) -> bool:
        """Renew the lease of an attempt that has nothing to tell; False when the render no longer is the attempt's."""
        ...

    async def get(self, account: str, render_id: str) -> Render | None:
        """A render of the account."""
        ...

    async def page(
        self,
        account: str,
        *,
        status: RenderStatus | None,
        slug: str | None,
        size: int,
        beyond: str | None,
        oldest_first: bool = False,
    ) -> Page:
        """Renders of the account that were not deleted, newest first unless asked otherwise, from just beyond an id."""
        ...

    async def events(self, render_id: str, after_seq: int, limit: int) -> Sequence[RenderEvent]:
        """Events after `after_seq`, in order."""
        ...

    async def inputs(self, render_id: str) -> Mapping[str, Any]:
        """The complete inputs of a render. A deleted one has none."""
        ...

    async def with_status(self, *statuses: RenderStatus) -> Sequence[Render]:
        """Renders of all accounts in these states, oldest first."""
        ...

    async def overdue(self, now: datetime) -> Sequence[Render]:
        """Active renders whose lease is over."""
        ...

    async def ended_since(self, moment: datetime) -> Sequence[Render]:
        """Renders of all accounts that ended after `moment`, oldest first."""
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
    """Where a worker serves and which process of this machine it is; None on another machine."""

    address: str
    pid: int | None


class Placer(Protocol):
    """Starts and ends worker processes."""

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves. Raises RuntimeStartFailed, MachineAbsent."""
        ...

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there and is that worker."""
        ...

    async def terminate(self, runtime_id: str, process: WorkerProcess, *, kindly: bool = True) -> None:
        """End a worker, at once unless `kindly`. Returns once it is gone."""
        ...


class Cluster(Protocol):
    """Machines that workers are started on, which come and go."""

    def machines(self) -> AsyncGenerator[Sequence[Machine], None]:
        """Those that are there now, none while nobody can say, and again at each change."""
        ...


@dataclass(frozen=True)
class LoadMoment:
    """A moment of a worker's load. The last one is ready or failed."""

    phase: str
    message: str
    failure: Failure | None = None
    done_bytes: float | None = None
    total_bytes: float | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    """What results rely on besides the inputs; only when it is ready."""


@dataclass(frozen=True)
class Assignment:
    """What a worker is told to render."""

    render_id: str
    epoch: int
    inputs: Mapping[str, Any]
    output_key: str
    checkpoint_key: str
    fail_when_out_of_memory: bool
    pause_after_step: int = 0
    trace_context: Mapping[str, str] = field(default_factory=dict)
    """What its spans are parts of, as headers."""


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
    """A moment of an attempt. The last one has a result, a failure, or says canceled or paused."""

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
    paused: bool = False


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
    """Somebody who waits for a render's next event. It holds a few events, not all: the store is the truth."""

    async def next(self, seconds: float) -> RenderEvent | None:
        """The next event that was told, oldest first; None after `seconds` without one, or when some were dropped."""
        ...

    async def heard(self, seconds: float) -> bool:
        """Return True once something was told since the last call, or False after `seconds`."""
        ...


class Bell(Protocol):
    """Tells waiting calls of a render's new event. Hearing nothing proves nothing: the store is the truth."""

    def ring(self, render_id: str, event: RenderEvent) -> None:
        """Tell everybody who listens for the render."""
        ...

    def listened(self) -> Mapping[str, int]:
        """The renders somebody listens for, each with the number of the newest event that was told, 0 for none."""
        ...

    def listening(self, render_id: str) -> AbstractContextManager[Listener]:
        """Listen for a render's events while the block runs."""
        ...
