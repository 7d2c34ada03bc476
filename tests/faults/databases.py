"""A PostgreSQL that is treated badly while renders are accepted and run."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from random import Random
from typing import Literal

import psycopg

from tests.faults.ground import Ground, expect
from tests.faults.reading import attempts_of
from tests.faults.services import Load

_WINDOW_SECONDS = 2.0
_BACK_WITHIN_SECONDS = 10.0
_BACK_AT = 0.98


def restarted(how: Literal["fast", "immediate"]) -> Callable[[Ground, Random], float]:
    """The trial that stops the server, and starts it at once."""

    def trial(at: Ground, luck: Random) -> float:
        """Nothing is lost, what runs goes on in the same attempt, and nobody is answered worse than 503.

        Within ten seconds renders are accepted as fast as before. Recovery is until the first is.
        """

        def hurt() -> None:
            at.postgresql.stop(how)
            at.postgresql.start()

        return _through(at, luck, hurt)

    return trial


def away(at: Ground, luck: Random) -> float:
    """Renders are refused with 503 while it is away for 12 s; what runs waits for its log. Nothing is lost.

    Within ten seconds of its return renders are accepted as fast as before. Recovery is until the first is.
    """

    def hurt() -> None:
        at.postgresql.stop("fast")
        at.afterwards(at.postgresql.start)
        time.sleep(12)
        at.postgresql.start()

    return _through(at, luck, hurt)


def backends_killed(at: Ground, luck: Random) -> float:
    """Nothing is lost, what runs goes on in the same attempt, and nobody is answered worse than 503.

    Every connection is ended, again and again. Within ten seconds renders are accepted as fast as before. Recovery is
    until the first is.
    """

    def hurt() -> None:
        for _ in range(5):
            at.postgresql.end_every_backend()
            time.sleep(luck.uniform(0.0, 0.2))

    return _through(at, luck, hurt)


def connections_taken(at: Ground, luck: Random) -> float:
    """Nothing is lost, what runs goes on in the same attempt, and nobody is answered worse than 503.

    Others take every connection, also those that the services had. Within ten seconds of their going renders are
    accepted as fast as before. Recovery is until the first is.
    """

    def hurt() -> None:
        with ExitStack() as others:
            control = others.enter_context(psycopg.connect(at.postgresql.url, autocommit=True))
            until = time.monotonic() + at.size(quick=2, full=8)
            while time.monotonic() < until:
                control.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forge'"
                )
                with suppress(psycopg.OperationalError):  # which says that there are no more
                    while True:
                        others.enter_context(psycopg.connect(at.postgresql.url))
                time.sleep(0.1)

    return _through(at, luck, hurt)


def _through(at: Ground, luck: Random, hurt: Callable[[], None]) -> float:
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    with Load(at) as load:
        load.wait_for(accepted=4)
        before = time.monotonic()
        time.sleep(at.size(quick=1, full=10))
        running = at.submit(body)
        hurt_at = time.monotonic()
        hurt()
        healed_at = time.monotonic()
        load.wait_for(accepted=1)
        recovered = next(moment for moment in (*load.accepted_at, time.monotonic()) if moment > healed_at) - healed_at
        if at.size(quick=0, full=1):
            time.sleep(max(0.0, healed_at + _BACK_WITHIN_SECONDS - time.monotonic()))
            usual = _rate(load, before, hurt_at)
            best = max(_rate(load, moment, moment + _WINDOW_SECONDS) for moment in _windows(healed_at))
            at.remarks.append(f"{usual:.1f} renders were accepted a second before, {best:.1f} after")
            expect(best >= _BACK_AT * usual, f"{best:.1f} renders a second after {usual:.1f}")
    expect(not load.wrong, f"requests were answered {load.wrong}")
    attempts_of(at.ended(running), ["succeeded"])
    at.same_video(running, expected)
    at.ended(*load.accepted, seconds=60 + len(load.accepted))
    return recovered


def _rate(load: Load, begin: float, end: float) -> float:
    return sum(begin <= moment < end for moment in load.accepted_at) / (end - begin)


def _windows(healed_at: float) -> list[float]:
    steps = int((_BACK_WITHIN_SECONDS - _WINDOW_SECONDS) * 5)
    return [healed_at + step / 5 for step in range(steps + 1)]
