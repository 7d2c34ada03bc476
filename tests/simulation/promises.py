"""The nine promises, one function each: checked at every commit, and once more at the end, when `commit` is None."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.simulation import film
from tests.simulation.evidence import FINAL, Attempt, Commit, Row
from tests.simulation.machines import Worker
from tests.simulation.record import Broken

if TYPE_CHECKING:
    from tests.simulation.world import World

MAX_LOSSES = 3
SLACK_SECONDS = 0.1
"""Between what is decided and what is committed."""
HALF_LIFE_SECONDS = 600.0
"""How long until device time that an account has used counts half."""

TABLE: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "canceled", "expired"}),
    "running": frozenset({"succeeded", "failed", "canceling", "paused", "queued"}),
    "paused": frozenset({"queued", "canceled", "expired"}),
    "canceling": frozenset({"canceled", "succeeded", "failed"}),
    **dict.fromkeys(FINAL, frozenset()),
}
_MARK = re.compile(r"#(\d+)\.(\d+)$")
_EPOCH_OF_KEY = re.compile(r"^renders/[^/]+/(\d+)/")


def acknowledged_is_never_lost(world: "World", commit: Commit | None) -> None:
    """1. An acknowledged render is never lost: it is stored before anybody hears of it, and it comes to an end.

    Nor is the work that was kept of it: the checkpoint it would go on from is there.
    """
    evidence, by_key = world.evidence, {}
    for row in evidence.rows.values() if commit is None else [commit.row]:
        if row["checkpoint_key"] and row["checkpoint_key"] not in world.objects.stored:
            raise Broken("1", f"{row['id']}, {row['status']}, would go on from {row['checkpoint_key']}, which is gone")
    if commit is not None:
        return
    for told in evidence.acknowledged:
        log = evidence.logs.get(told.render_id)
        if not log or log[0].at > told.at:
            raise Broken("1", f"{told.render_id} was acknowledged at {told.at:.3f} without being in the store")
        if by_key.setdefault((told.account, told.key), told.render_id) != told.render_id:
            raise Broken("1", f"key {told.key} of {told.account} made two renders")
    if lost := sorted(set(evidence.rows) - set(world.stored_rows())):
        raise Broken("1", f"no longer in the store: {lost}")
    if left := evidence.unsettled():
        raise Broken("1", f"did not end although nothing is broken any more: {', '.join(left)}")


def one_output_is_published(world: "World", commit: Commit | None) -> None:
    """2. Exactly one output is published per succeeded render, of the row's own epoch, with the right bytes."""
    rows = world.evidence.rows.values() if commit is None else [commit.row]
    for row in rows:
        output = row["output"]
        if (output is not None) != (row["status"] == "succeeded"):
            raise Broken("2", f"{row['id']} is {row['status']} with output {output}")
        if output is None:
            continue
        if output["key"] != f"renders/{row['id']}/{row['epoch']}/video.mp4":
            raise Broken("2", f"{row['id']} of epoch {row['epoch']} published {output['key']}")
        if world.objects.stored.get(output["key"]) not in right_videos(world, row["id"]):
            raise Broken("2", f"{row['id']}: the object is not the video that was asked for")
        ends = [event for event in world.evidence.logs[row["id"]] if event.body["status"] == "succeeded"]
        if len(ends) != 1:
            raise Broken("2", f"{row['id']} succeeded {len(ends)} times")


def states_move_along_the_table(_world: "World", commit: Commit | None) -> None:
    """3. States move only along the table."""
    if commit is None:
        return
    before, after = commit.before["status"] if commit.before else None, commit.event.body["status"]
    if commit.row["status"] != after:
        raise Broken("3", f"{commit.row['id']} is {commit.row['status']}, its newest event says {after}")
    if before is None and after != "queued":
        raise Broken("3", f"{commit.row['id']} began as {after}")
    stays = before == after and after not in FINAL
    if before is not None and not stays and after not in TABLE[before]:
        raise Broken("3", f"{commit.row['id']} went from {before} to {after}")


def the_log_has_no_gap(world: "World", commit: Commit | None) -> None:
    """4. The log has no gap and never goes back, and watchers saw exactly the log."""
    if commit is not None:
        before = commit.before["last_seq"] if commit.before else 0
        if not commit.event.seq == commit.event.body["seq"] == commit.row["last_seq"] == before + 1:
            raise Broken("4", f"{commit.row['id']}: event {commit.event.seq} follows {before}")
        return
    logs = world.evidence.logs
    for render_id, texts in world.stored_logs().items():
        if texts != [event.text for event in logs[render_id]]:
            raise Broken("4", f"the log of {render_id} was written over")
    for sight in world.evidence.sights:
        log = [(e.seq, e.body["status"], e.body["attempt"], e.body["message"]) for e in logs[sight.render_id]]
        if sight.events != log[sight.after_seq : sight.after_seq + len(sight.events)]:
            raise Broken("4", f"a watcher of {sight.render_id} after {sight.after_seq} saw {sight.events}, not the log")


def losses_are_counted_right(world: "World", commit: Commit | None) -> None:
    """5. A render is given up at its third loss; drains and preemptions do not count."""
    if commit is None:
        return
    row = commit.row
    lost = sum(attempt["outcome"] == "lost" for attempt in row["attempts"])
    if lost > MAX_LOSSES or lost != row["losses"]:
        raise Broken("5", f"{row['id']} lost {lost} workers and counts {row['losses']}")
    if row["status"] not in FINAL and lost >= MAX_LOSSES:
        raise Broken("5", f"{row['id']} goes on after {lost} losses")
    if row["error"] is not None and row["error"]["reason"] == "WORKER_LOST" and lost < MAX_LOSSES:
        raise Broken("5", f"{row['id']} was given up after {lost} losses")
    if commit.before and lost > commit.before["losses"] and (worker := _innocent(world, commit.before)):
        raise Broken("5", f"{row['id']} counts a loss although nothing happened to {worker.process}")


def _innocent(world: "World", row: Row) -> Worker | None:
    """The worker of an attempt, if it was asked for it and nothing happened that may be taken for its death."""
    worker = world.machines.workers.get(row["runtime_id"])
    if worker is None or worker.is_hurt or (row["id"], row["epoch"]) not in worker.asked:
        return None
    is_followed = world.evidence.attempt(row["id"]).began_at > world.scheduler.started_at
    return worker if is_followed and not world.is_disturbed else None


def nobody_is_billed_twice(world: "World", commit: Commit | None) -> None:
    """6. Nobody is billed twice: attempts on one slot never overlap, and none counts more than it held the device."""
    for attempt in world.evidence.attempts if commit is None else ():
        billed = {one["epoch"]: one["gpu_seconds"] for one in world.evidence.rows[attempt.render_id]["attempts"]}
        held = (attempt.ended_at or world.time()) - attempt.began_at
        if not -1e-6 <= billed[attempt.epoch] <= held + SLACK_SECONDS:
            told = f"held {held:.2f} s, {billed[attempt.epoch]:.2f} s are billed"
            raise Broken("6", f"{attempt.render_id} epoch {attempt.epoch} {told}")
    by_slot: dict[str, list[Attempt]] = {}
    for attempt in world.evidence.attempts if commit is None else ():
        by_slot.setdefault(world.machines.slot_of(attempt.runtime_id), []).append(attempt)
    for slot, attempts in by_slot.items():
        for earlier, later in pairwise(attempts):
            if earlier.began_at + earlier.gpu_seconds > later.began_at + SLACK_SECONDS:
                raise Broken("6", f"{earlier.render_id} and {later.render_id} both pay for {slot}")


def nobody_waits_below_its_share(world: "World", commit: Commit | None) -> None:
    """7. No account is below its fair share while it has work and there is room.

    An account that waits for the same place and has had less device time, by more than one render on each slot and one
    that is just being placed, is passed over in a row at most as often as there are other slots: so many may start a
    new runtime while it waits for a warm one; when a worker is gone, whoever waited for it waits anew. What runs counts
    as what it is expected to take. A scheduler that was started again has not seen all of this, and nothing is asked of
    it.
    """
    if commit is None or len(world.scheduler.processes) > 1:
        return
    if commit.before and commit.before["status"] == "running" and commit.row["status"] in ("queued", "failed"):
        world.passed_over = {}
    if not commit.is_lease:
        return
    chosen, now = commit.row, commit.at
    used: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for attempt in world.evidence.attempts[:-1]:
        if attempt.ended_at is None:
            used[attempt.account] += world.expected_seconds
            running[attempt.account] += 1
        else:
            used[attempt.account] += attempt.gpu_seconds * 0.5 ** ((now - attempt.ended_at) / HALF_LIFE_SECONDS)
    longest = max([world.expected_seconds, *(a.gpu_seconds for a in world.evidence.attempts if not a.is_cold)])
    most_behind = (len(world.slots) + 1) * longest + SLACK_SECONDS
    limit = world.scenario.policy.max_running_per_account or len(world.slots)
    rivals = {row["account"] for row in world.evidence.rows.values() if _could_go_instead(world, row, commit)}
    behind = {name for name in rivals if running[name] < limit and used[chosen["account"]] - used[name] > most_behind}
    world.passed_over = {name: world.passed_over.get(name, 0) + 1 for name in sorted(behind - {chosen["account"]})}
    for name, times in world.passed_over.items():
        if times >= len(world.slots):
            had = f"{used[name]:.0f} s, {chosen['account']} {used[chosen['account']]:.0f} s"
            raise Broken("7", f"{chosen['id']} goes before {name}, {times} times in a row; {name} has had {had}")


def _could_go_instead(world: "World", row: Row, commit: Commit) -> bool:
    """Whether a render waits for the same place, long enough to have been thought of, and may still begin."""
    is_known = commit.at - world.evidence.logs[row["id"]][-1].at > SLACK_SECONDS
    is_over = any(moment <= world.scheduler.clock.now() for moment in _ends_of_waiting(row))
    return row["status"] == "queued" and is_known and not is_over and _demand(row) == _demand(commit.row)


def old_epochs_change_nothing(_world: "World", commit: Commit | None) -> None:
    """8. A worker whose epoch is old changes nothing: no row, event or output of an older epoch after a newer."""
    if commit is None:
        return
    row, before = commit.row, commit.before or {}
    if row["epoch"] < before.get("epoch", 0):
        raise Broken("8", f"{row['id']} went back to epoch {row['epoch']}")
    if row["attempts"] and row["attempts"][-1]["epoch"] != row["epoch"]:
        raise Broken("8", f"{row['id']}: its newest attempt is not of epoch {row['epoch']}")
    if row["epoch"] and (mark := _MARK.search(commit.event.body["message"])):
        epoch, number = int(mark[1]), int(mark[2])
        if epoch != row["epoch"]:
            raise Broken("8", f"{row['id']} of epoch {row['epoch']}: a worker of epoch {epoch} wrote event {number}")
        if before["worker_seq"] >= number:
            raise Broken("8", f"{row['id']}: the worker's event {number} was written again")
    for name in ("checkpoint_key", "preview_key"):
        key = row[name]
        if commit.before and key and key != before[name] and int(_EPOCH_OF_KEY.findall(key)[0]) != row["epoch"]:
            raise Broken("8", f"{row['id']} of epoch {row['epoch']}: {name} became {key}")


def nothing_starts_after_its_expiry(world: "World", commit: Commit | None) -> None:
    """9. Nothing starts after its expiry."""
    if commit is None or not commit.is_lease or commit.before is None:
        return
    now = datetime.fromisoformat(commit.row["attempts"][-1]["began_at"])
    if abs((world.scheduler.clock.now() - now).total_seconds()) > SLACK_SECONDS and not world.scheduler.has_missed_time:
        raise Broken("9", f"{commit.row['id']} began at {now}, says the store; it is {world.scheduler.clock.now()}")
    for moment in _ends_of_waiting(commit.before):
        if now >= moment:
            raise Broken("9", f"{commit.row['id']} began at {now}, its wait was over at {moment}")


def nothing_is_a_surprise(world: "World", commit: Commit | None) -> None:
    """0. Nobody ends by an error that has no name."""
    error = commit.row["error"] if commit else None
    if error is not None and error["reason"] == "INTERNAL":
        raise Broken("0", f"{commit.row['id'] if commit else ''} failed: {error['message']}")
    if surprises := [*world.network.surprises, *world.scheduler.surprises, *map(str, world.loop.errors)]:
        raise Broken("0", surprises[0])


Promise = Callable[["World", Commit | None], None]
PROMISES: tuple[Promise, ...] = (
    nothing_is_a_surprise,
    states_move_along_the_table,
    the_log_has_no_gap,
    old_epochs_change_nothing,
    one_output_is_published,
    losses_are_counted_right,
    nobody_is_billed_twice,
    nobody_waits_below_its_share,
    nothing_starts_after_its_expiry,
    acknowledged_is_never_lost,
)


def right_videos(world: "World", render_id: str) -> list[bytes]:
    """What the video of a render may be: as if undisturbed; made from the start where it says that it began again."""
    row, inputs = world.evidence.rows[render_id], world.evidence.inputs[render_id]
    videos = [film.expected(inputs, _base(world, row))]
    if any("began again" in warning for warning in row["warnings"]):
        videos.append(film.expected(inputs))
    return videos


def _base(world: "World", row: Row) -> film.Base | None:
    """The step of another render that a branch, or a retry of one, goes on from."""
    if row["retry_of"]:
        return _base(world, world.evidence.rows[row["retry_of"]])
    if not row["branch_of"]:
        return None
    parent = world.evidence.rows[row["branch_of"]]
    steps = world.branched_after[row["id"]]
    return film.Base.of(world.evidence.inputs[parent["id"]], steps, _base(world, parent))


def _ends_of_waiting(row: Row) -> list[datetime]:
    return [datetime.fromisoformat(row[name]) for name in ("expires_at", "deadline") if row[name]]


def _demand(row: Row) -> tuple[object, ...]:
    return row["slug"], row["model_version"], str(row["pin"]), row["prefer"], str(row["affordable"])
