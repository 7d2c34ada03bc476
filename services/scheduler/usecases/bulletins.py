"""What the replica that leads knows, as far as the others need it to say where renders stand."""

from collections.abc import Callable, Collection

from services.scheduler.domain.bulletin import Bulletin, Knowledge
from services.scheduler.ports import Clock
from services.scheduler.replica_ports import BulletinBoard
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.runtimes import Runtimes


class Bulletins:
    """Puts bulletins up while this process leads, and goes by those of the leader otherwise."""

    def __init__(
        self,
        *,
        board: BulletinBoard | None,
        knowledge: Knowledge,
        runtimes: Runtimes,
        dispatcher: Dispatcher,
        clock: Clock,
        leads: Callable[[], bool],
    ) -> None:
        self._board = board
        self._knowledge = knowledge
        self._runtimes = runtimes
        self._dispatcher = dispatcher
        self._clock = clock
        self._leads = leads
        self._read = Bulletin()

    def remaining_seconds(self, render_id: str) -> float | None:
        """How long the attempt at a render is expected to be in others' way; None when nobody knows."""
        return self._dispatcher.remaining_seconds(render_id) if self._leads() else self._read.remaining.get(render_id)

    def accounts_at_their_limit(self) -> Collection[str]:
        """The accounts that run as many renders at once as they may."""
        return self._dispatcher.accounts_at_their_limit() if self._leads() else self._read.at_their_limit

    async def exchange(self) -> None:
        """Put up what is known, or take over what the leader has put up. StoreUnavailable."""
        if self._board is None:
            return
        if self._leads():
            await self._board.put_up(self._written())
        elif (bulletin := await self._board.read()) is not None and not self._leads():
            self._take_over(bulletin)

    def forget(self) -> None:
        """Know nothing any more: from here on this process finds out itself."""
        self._take_over(Bulletin())

    def _take_over(self, bulletin: Bulletin) -> None:
        self._read = bulletin
        self._runtimes.take_over(bulletin.runtimes, bulletin.room)
        self._knowledge.take_over(bulletin, self._clock.monotonic())

    def _written(self) -> Bulletin:
        now, known = self._clock.monotonic(), self._knowledge
        runtimes = tuple(self._runtimes.all())
        return Bulletin(
            runtimes=runtimes,
            room=self._runtimes.room,
            remaining={
                runtime.render_id: _rounded(self._dispatcher.remaining_seconds(runtime.render_id))
                for runtime in runtimes
                if runtime.render_id is not None
            },
            at_their_limit=tuple(sorted(self._dispatcher.accounts_at_their_limit())),
            runs=known.durations.runs,
            starts=known.durations.starts,
            circuits=tuple((key, round(seconds)) for key, seconds in known.circuits.open(now).items()),
            shares={account: round(used, 1) for account, used in known.shares.of_all(now).items()},
            day={a: (round(spent, 1), round(free)) for a, (spent, free) in known.day.of_all(now).items()},
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
