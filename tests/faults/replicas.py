"""Two schedulers that share a PostgreSQL, of which one is killed or frozen under load."""

import time
from collections.abc import Callable
from random import Random

import psutil
import psycopg

from tests.faults.ground import Ground, expect, thaw
from tests.faults.reading import attempts_of
from tests.faults.services import Load


def leader_killed(at: Ground, luck: Random) -> float:
    """None is lost; what runs goes on in the same attempt, and every step of it is in the log.

    Nobody is answered worse than 503. Recovery is until the other scheduler leads.
    """
    return _through(at, luck, lambda leader, _: at.kill(leader))


def follower_killed(at: Ground, luck: Random) -> float:
    """None is lost; what runs does not notice. Nobody is answered worse than 503.

    Recovery is until a new render is accepted.
    """
    term = _term(at)
    recovered = _through(at, luck, lambda _, follower: at.kill(follower), has_new_leader=False)
    expect(_term(at) == term, "the leader changed")
    return recovered


def leader_frozen(at: Ground, luck: Random) -> float:
    """The other scheduler leads when the lease is over, and what runs goes on in the same attempt.

    Once it is thawed the former leader changes nothing and ends. Nobody is answered worse than 503. Recovery is until
    the other scheduler leads.
    """

    def hurt(leader: psutil.Process, _: psutil.Process) -> None:
        term = _term(at)
        at.freeze(leader)
        at.until(lambda: _term(at) > term, what="another leader", seconds=30)
        time.sleep(luck.uniform(0.0, 1.0))
        thaw(leader)
        at.until(lambda: not leader.is_running(), what="the end of the former leader", seconds=15)

    return _through(at, luck, hurt)


def _through(
    at: Ground, luck: Random, hurt: Callable[[psutil.Process, psutil.Process], object], *, has_new_leader: bool = True
) -> float:
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    leader, follower = at.until(lambda: _replicas(at), what="two schedulers")
    term = _term(at)
    with Load(at) as load:
        load.wait_for(accepted=4)
        running = at.submit(body)
        at.denoising(running)
        hurt_at = recovered_at = time.monotonic()
        hurt(leader, follower)
        if has_new_leader:
            at.until(lambda: _term(at) > term, what="another leader")
            recovered_at = time.monotonic()
        load.wait_for(accepted=4)
        if not has_new_leader:
            recovered_at = next(moment for moment in load.accepted_at if moment > hurt_at)
    expect(not load.wrong, f"requests were answered {load.wrong}")
    ended = at.ended(running)
    attempts_of(ended, ["succeeded"])
    at.same_video(running, expected)
    steps = {event["progress"]["done_steps"] for event in at.ledger.events(running)}
    missing = set(range(1, ended["progress"]["total_steps"] + 1)) - steps
    expect(not missing, f"steps {missing} are not in the log")
    at.ended(*load.accepted, seconds=60 + len(load.accepted))
    at.healthy()
    at.until(lambda: _replicas(at), what="two schedulers")
    return recovered_at - hurt_at


def _replicas(at: Ground) -> tuple[psutil.Process, psutil.Process] | None:
    """The scheduler that leads and the other one, once both are there."""
    address = _asked(at, "SELECT address FROM scheduler.leadership")
    found = {process.environ()["FORGE_SCHEDULER_ADDRESS"]: process for process in at.processes("services.scheduler")}
    others = [process for there, process in found.items() if there != address]
    return (found[address], others[0]) if address in found and others else None


def _term(at: Ground) -> int:
    return int(_asked(at, "SELECT term FROM scheduler.leadership") or 0)


def _asked(at: Ground, query: str) -> int | str | None:
    with psycopg.connect(at.postgresql.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
