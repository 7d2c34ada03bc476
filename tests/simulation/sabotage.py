"""The product, broken on purpose, one promise at a time: a simulation that does not notice proves nothing."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.chassis.storage import StoreUnavailable
from services.inference_worker.usecases.attempt import Attempt as WorkerAttempt
from services.inference_worker.usecases.studio import Studio
from services.scheduler.adapters import sql_store
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.domain.render import Render, RenderStatus, snapshot
from services.scheduler.domain.shares import Shares
from services.scheduler.ports import Written
from services.scheduler.usecases import dispatcher
from services.scheduler.usecases.attempt import Attempt
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.hold import Hold
from services.scheduler.usecases.reaper import Reaper
from tests.simulation.machines import Machines
from tests.simulation.nemesis import KINDS

ZOMBIES = ("pause a worker", "cut the network")
"""What makes a worker go on although it was given up."""

Patch = Callable[[Any, str, Any], None]
"""Sets an attribute for as long as the test runs."""


@dataclass(frozen=True)
class Sabotage:
    """One way to break the product, and the promises that this breaks."""

    name: str
    promises: str
    do: Callable[[Patch], None]
    under: Sequence[str] = KINDS
    """What the nemesis breaks meanwhile: where only that tells, nothing else."""

    def __str__(self) -> str:
        return self.name


def _acknowledge_before_it_is_stored(patch: Patch) -> None:
    accept = SqlRenderStore.accept

    async def careless(self: SqlRenderStore, render: Render, *args: Any, **kwargs: Any) -> Any:
        try:
            return await accept(self, render, *args, **kwargs)
        except StoreUnavailable:
            return Written(render, snapshot(render, render.created_at, "accepted"))

    patch(SqlRenderStore, "accept", careless)


def _forget_what_was_running(patch: Patch) -> None:
    async def nothing(*_: Any) -> None:
        pass

    patch(Dispatcher, "_take_back", nothing)
    patch(Reaper, "_take_back_abandoned", nothing)


def _show_frames_twice(patch: Patch) -> None:
    patch(WorkerAttempt, "show_again", lambda _self: None)


def _leave_the_epoch_out_of_keys(patch: Patch) -> None:
    patch(Render, "folder", property(lambda self: f"renders/{self.id}/1"))


def _remove_checkpoints_before_the_end_is_told(patch: Patch) -> None:
    make_video = Studio.make_video

    async def hasty(self: Studio, attempt: WorkerAttempt, engine: Any) -> Any:
        output = await make_video(self, attempt, engine)
        objects: Any = self._objects
        await objects.remove(attempt.keeper.kept.checkpoint_key)
        return output

    patch(Studio, "make_video", hasty)


def _remove_checkpoints_of_others(patch: Patch) -> None:
    patch(Render, "spends", lambda _self, _key: True)


def _move_as_it_comes(patch: Patch) -> None:
    patch(Render, "moved", lambda self, to, **changes: replace(self, status=to, **changes))
    patch(Render, "canceled", lambda self, now: self.ended(RenderStatus.CANCELED, now))


def _skip_a_number(patch: Patch) -> None:
    def skipping(instance: Any, **changes: Any) -> Any:
        if changes.get("last_seq", 0) > 4:
            changes["last_seq"] += 1
        return replace(instance, **changes)

    patch(sql_store, "replace", skipping)


def _lose_an_event_in_replays(patch: Patch) -> None:
    events = SqlRenderStore.events

    async def forgetful(self: SqlRenderStore, *args: Any) -> Any:
        found = list(await events(self, *args))
        return [event for event in found if event.seq != 2 or len(found) < 3]

    patch(SqlRenderStore, "events", forgetful)


def _count_releases_as_losses(patch: Patch) -> None:
    patch(Render, "released", lambda self, now, why: self.lost(now, why))


def _bill_from_the_last_restart(patch: Patch) -> None:
    init = Hold.__init__

    def generous(self: Hold, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._accrued_at = self._heard_at - self._lease.total_seconds()

    patch(Hold, "__init__", generous)


def _serve_first_come_first(patch: Patch) -> None:
    patch(Shares, "weight", lambda *_: 0.0)


def _let_given_up_attempts_go_on(patch: Patch) -> None:
    async def watched(self: Attempt, work: Any) -> None:
        tasks = [asyncio.create_task(work), asyncio.create_task(self._watch())]
        tasks[0].add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks[1].cancel()
        await (tasks[0] if tasks[0].done() else tasks[1])

    async def nothing(*_: Any, **__: Any) -> None:
        pass

    patch(Attempt, "_watched", watched)
    patch(Attempt, "_stop_worker", nothing)
    patch(Machines, "terminate", nothing)


def _do_without_the_fence(patch: Patch) -> None:
    advance = SqlRenderStore.advance

    async def unfenced(self: SqlRenderStore, *args: Any, epoch: int | None = None) -> Any:
        return await advance(self, *args)

    patch(SqlRenderStore, "advance", unfenced)
    _let_given_up_attempts_go_on(patch)


def _start_what_is_over(patch: Patch) -> None:
    patch(
        dispatcher,
        "_leased",
        lambda queued, lease, now: queued.leased(lease, now) if queued.status is RenderStatus.QUEUED else None,
    )


def _trip_over_a_canceled_render(patch: Patch) -> None:
    def trip(*_: Any) -> None:
        raise KeyError("no such thing")

    patch(Dispatcher, "cancel", trip)


SABOTAGES = (
    Sabotage("acknowledge before it is stored", "1", _acknowledge_before_it_is_stored, ("fill the disk",)),
    Sabotage("forget what was running", "1", _forget_what_was_running),
    Sabotage("remove checkpoints before the end is told", "1", _remove_checkpoints_before_the_end_is_told),
    Sabotage("remove checkpoints of others", "1", _remove_checkpoints_of_others),
    Sabotage("show frames twice", "2", _show_frames_twice, ("spoil the devices",)),
    Sabotage("leave the epoch out of keys", "2 8", _leave_the_epoch_out_of_keys),
    Sabotage("move as it comes", "3", _move_as_it_comes),
    Sabotage("skip a number", "4", _skip_a_number),
    Sabotage("lose an event in replays", "4", _lose_an_event_in_replays),
    Sabotage("count releases as losses", "5", _count_releases_as_losses),
    Sabotage("bill from the last restart", "6", _bill_from_the_last_restart),
    Sabotage("serve first come first", "7", _serve_first_come_first),
    Sabotage("do without the fence", "8", _do_without_the_fence, ZOMBIES),
    Sabotage("start what is over", "9", _start_what_is_over),
    Sabotage("trip over a canceled render", "0", _trip_over_a_canceled_render),
)

LET_GIVEN_UP_ATTEMPTS_GO_ON = _let_given_up_attempts_go_on
"""No sabotage of a promise: the fence must make up for it."""
