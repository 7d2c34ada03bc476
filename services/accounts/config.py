"""Settings of the accounts service."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from services.accounts.domain import is_token
from services.accounts.rates import MAX_BURST, MAX_PER_SECOND, MIN_PER_SECOND, RateLimit
from services.chassis.config import ChassisSettings


class Settings(ChassisSettings):
    """What the accounts service reads from the environment."""

    environment: str = Field(default="local", pattern=r"^[a-z0-9]{1,16}$")
    """Which installation keys are for; it shows in every key, so that one in the wrong place is recognised."""

    rate_limit_per_second: float = 100.0
    """How often a key may be used in the long run, where it has no limit of its own; 0 is without a limit."""
    rate_limit_burst: int = Field(default=200, ge=1, le=MAX_BURST)
    """How often such a key may be used at once after a silence."""

    endpoint_token: SecretStr | None = None
    """A secret of the operator's choice that is a key of the default account, for a client or a gateway that has it."""

    audit_days: int = Field(default=400, ge=1, le=36_500)
    """How long the audit log keeps an event."""

    @property
    def rate_limit(self) -> RateLimit | None:
        """The limit of keys that have none of their own."""
        if not self.rate_limit_per_second:
            return None
        return RateLimit(self.rate_limit_per_second, self.rate_limit_burst)

    @field_validator("rate_limit_per_second")
    @classmethod
    def _is_a_rate(cls, rate: float) -> float:
        if rate and not MIN_PER_SECOND <= rate <= MAX_PER_SECOND:
            raise ValueError(f"must be 0, for no limit, or {MIN_PER_SECOND} to {MAX_PER_SECOND:,.0f}")
        return rate

    @field_validator("endpoint_token")
    @classmethod
    def _is_a_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not is_token(token.get_secret_value()):
            raise ValueError("must have 32 to 512 letters, digits and -._~+/=, as openssl rand -hex 32 gives")
        return token

    @property
    def database_path(self) -> Path:
        """Where keys are kept."""
        return self.state_dir / "accounts.sqlite"

    @property
    def audit_outbox_path(self) -> Path:
        """Where calls of this service are noted until the audit log has them."""
        return self.state_dir / "accounts-audit.sqlite3"

    @property
    def pepper_path(self) -> Path:
        """The secret that hashes are keyed with. Whoever has the database alone cannot test guesses against it."""
        return self.home / "secrets" / "key-pepper"

    @property
    def first_key_path(self) -> Path:
        """Where the first key is left for the `forge` command."""
        return self.home / "api-key"
