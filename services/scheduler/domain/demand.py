"""What waiting renders ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import Render


@dataclass(frozen=True)
class Demand:
    """What renders ask of a runtime; those that ask the same are placed the same way. No `targets` means any.

    One `in_the_background` takes only what nobody else could want: it makes no runtime end to have its slot.
    """

    slug: str
    model_version: str
    pin: Pin
    prefer: Prefer
    targets: tuple[Target, ...] = ()
    in_the_background: bool = False

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Worked out once: queues look demands up again and again."""
        return hash((self.slug, self.model_version, self.pin, self.prefer, self.targets, self.in_the_background))

    def admits(self, target: Target) -> bool:
        """Whether such a render may run on `target`."""
        return self.pin.admits(target) and (not self.targets or target in self.targets)


@dataclass(frozen=True)
class Entry:
    """A render that waits. `shape` are the inputs that its work depends on, `finish_by` is when it is wanted."""

    render_id: str
    account: str
    demand: Demand
    rank: int
    give_up_at: datetime | None
    finish_by: datetime | None = None
    since: datetime | None = None
    """When it began to wait."""
    shape: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, str]:
        """Place among the account's own: priority, then age, which the identifier tells."""
        return self.rank, self.render_id


def entry_of(render: Render) -> Entry:
    """How a queued render waits."""
    demand = Demand(
        render.slug,
        render.model_version,
        render.pin,
        render.prefer,
        render.affordable,
        in_the_background=bool(render.probe_id),
    )
    return Entry(
        render_id=render.id,
        account=render.account,
        demand=demand,
        rank=render.priority.rank,
        give_up_at=render.give_up_at,
        finish_by=render.choose_by,
        since=render.waits_since,
        shape=render.shape,
    )
