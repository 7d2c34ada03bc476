"""Sessions of the console: browsers that were let in with a key."""

import secrets
from dataclasses import dataclass

import structlog

from services.accounts import domain
from services.accounts.domain import Session
from services.accounts.ports import Hasher, SessionStore
from services.accounts.usecases.guard import Guard
from services.chassis.clock import Clock
from services.chassis.errors import Unauthenticated
from services.chassis.identity import Caller, speak_for
from services.chassis.ids import new_id

log = structlog.get_logger()


@dataclass(frozen=True)
class BegunSession:
    """A new session and the only sight of its token."""

    session: Session
    token: str


class Sessions:
    """Browsers that were let in with a key."""

    def __init__(self, store: SessionStore, guard: Guard, hasher: Hasher, clock: Clock) -> None:
        self._store = store
        self._guard = guard
        self._hasher = hasher
        self._clock = clock

    async def begin(self, secret: str) -> BegunSession:
        """Begin a session of the key with this secret. Raises Unauthenticated."""
        key = await self._guard.key_with(secret.strip())
        if key is None:
            raise Unauthenticated
        now = self._clock.now()
        session = Session(new_id("ses"), key, now + domain.SESSION_TTL)
        token = secrets.token_urlsafe(32)
        await self._store.begin(session, self._hasher.digest(token), now)
        speak_for(Caller(key.account, key.id, key.scopes))
        log.info("session begun", session=session.id, key_id=key.id, account=key.account)
        return BegunSession(session, token)

    async def end(self, session_id: str) -> None:
        """End a session."""
        session = await self._store.end(session_id)
        if session is not None:
            speak_for(Caller(session.key.account, session.key.id, session.key.scopes))
        log.info("session ended", session=session_id)
