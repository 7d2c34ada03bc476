"""Settings every service has, read once at start from `FORGE_*` environment variables."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[2]


class ChassisSettings(BaseSettings):
    """What every service needs. Addresses are "host:port"; a service listens on its own and calls the others'."""

    model_config = SettingsConfigDict(env_prefix="FORGE_", extra="ignore", frozen=True)

    home: Path = Path.home() / ".forge"
    """Where everything that must survive is kept."""
    config_dir: Path = REPOSITORY / "config"
    """Models, prices and fleets."""
    otlp_endpoint: str | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"))
    """Where spans and metrics go; nowhere when unset."""
    shutdown_grace_seconds: float = 5.0
    """How long calls that are under way may take once the service is told to stop."""

    catalog_address: str = "127.0.0.1:7101"
    billing_estimate_address: str = "127.0.0.1:7102"
    accounts_address: str = "127.0.0.1:7103"
    scheduler_address: str = "127.0.0.1:7104"
    web_address: str = "127.0.0.1:7105"

    @property
    def state_dir(self) -> Path:
        """Where databases live."""
        return self.home / "state"

    @property
    def objects_url(self) -> str:
        """Where videos live."""
        return (self.home / "objects").resolve().as_uri()
