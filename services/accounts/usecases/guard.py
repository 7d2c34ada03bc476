"""Who may pass the edge, in whose name, and how often."""

from dataclasses import dataclass
from secrets import compare_digest

from services.accounts import domain
from services.accounts.domain import ApiKey, CrossOrigin, Knock
from services.accounts.ports import Hasher, KeyStore, SessionStore
from services.accounts.rates import Allowance, RateLimited
from services.accounts.usecases.rate_limits import RateLimits
from services.accounts.usecases.use_log import UseLog
from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Unauthenticated


@dataclass(frozen=True)
class Pass:
    """Leave to pass the edge, in the name of a key, perhaps through a session; of nobody on a public route."""

    key: ApiKey | None = None
    session_id: str = ""
    allowance: Allowance | None = None
    """How the key's rate limit stands; None where there is none."""


class Guard:
    """Decides who may pass the edge."""

    def __init__(
        self,
        keys: KeyStore,
        sessions: SessionStore,
        hasher: Hasher,
        uses: UseLog,
        limits: RateLimits,
        clock: Clock,
        *,
        token: str | None = None,
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._hasher = hasher
        self._uses = uses
        self._limits = limits
        self._clock = clock
        self._token = hasher.digest(token) if token else None

    async def judge(self, knock: Knock) -> Pass | ForgeError:
        """Whether a request may pass. Public routes need nobody's name, but no route trusts another origin's page.

        A refusal is Unauthenticated, CrossOrigin or RateLimited. A session counts for its key.
        """
        if knock.may_be_forged and (knock.session_token or knock.is_public):
            return CrossOrigin()
        found = await self._key(knock.authorization) if knock.is_bearer else await self._session(knock.session_token)
        if found is None:
            return Pass() if knock.is_public else Unauthenticated()
        key, session_id = found
        allowance = self._limits.count(key)
        if allowance is not None and allowance.retry_after_seconds is not None:
            return RateLimited(allowance)
        self._uses.note(key)
        return Pass(key, session_id, allowance)

    async def key_with(self, secret: str) -> ApiKey | None:
        """The working key with this secret, or None."""
        is_well_formed = domain.is_well_formed(secret)
        if not is_well_formed and self._token is None:
            return None
        digest = self._hasher.digest(secret)
        if not is_well_formed and not compare_digest(digest, self._token or b""):
            return None
        key = await self._keys.find(digest)
        return key if key is not None and key.works_at(self._clock.now()) else None

    async def _key(self, authorization: str) -> tuple[ApiKey, str] | None:
        scheme, _, secret = authorization.partition(" ")
        key = await self.key_with(secret.strip(" ")) if scheme.lower() == "bearer" else None
        return (key, "") if key is not None else None

    async def _session(self, token: str) -> tuple[ApiKey, str] | None:
        session = await self._sessions.session(self._hasher.digest(token)) if token else None
        if session is None or not session.works_at(self._clock.now()):
            return None
        return session.key, session.id
