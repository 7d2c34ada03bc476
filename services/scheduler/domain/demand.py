"""What waiting renders ask for."""

from dataclasses import dataclass
from datetime import datetime

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

    def admits(self, target: Target) -> bool:
        """Whether such a render may run on `target`."""
        return self.pin.admits(target) and (not self.targets or target in self.targets)


@dataclass(frozen=True)
class Entry:
    """A render that waits."""

    render_id: str
    account: str
    demand: Demand
    rank: int
    give_up_at: datetime | None

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
    return Entry(render.id, render.account, demand, render.priority.rank, render.give_up_at)
