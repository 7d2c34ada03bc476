"""Settings of the accounts service."""

from pathlib import Path

from pydantic import Field

from services.chassis.config import ChassisSettings


class Settings(ChassisSettings):
    """What the accounts service reads from the environment."""

    environment: str = Field(default="local", pattern=r"^[a-z0-9]{1,16}$")
    """Which installation keys are for; it shows in every key, so that one in the wrong place is recognised."""

    @property
    def database_path(self) -> Path:
        """Where keys are kept."""
        return self.state_dir / "accounts.sqlite"

    @property
    def pepper_path(self) -> Path:
        """The secret that hashes are keyed with. Whoever has the database alone cannot test guesses against it."""
        return self.home / "secrets" / "key-pepper"

    @property
    def first_key_path(self) -> Path:
        """Where the first key is left for the `forge` command."""
        return self.home / "api-key"
