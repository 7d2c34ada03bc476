"""Settings every service has, read once at start from `FORGE_*` environment variables."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[2]


class ChassisSettings(BaseSettings):
    """What every service needs. Addresses are "host:port"; a service listens on its own and calls the others'.

    Those of a service with several replicas are separated by commas for whoever calls it; they are numbers then.
    """

    model_config = SettingsConfigDict(env_prefix="FORGE_", extra="ignore", frozen=True, hide_input_in_errors=True)

    home: Path = Path.home() / ".forge"
    """Where everything that must survive is kept."""
    config_dir: Path = REPOSITORY / "config"
    """Models, prices and fleets."""
    database_url: SecretStr | None = None
    """The PostgreSQL that services keep their tables in, each in a schema of its own:
    postgresql://user:password@host:port/database; SQLite files in the home when unset."""
    otlp_endpoint: str | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"))
    """Where spans and metrics go besides the installation's own span store; nowhere when unset."""
    otlp_headers: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_HEADERS"))
    """What is sent along there: name=value, separated by commas."""
    otlp_certificate: Path | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_CERTIFICATE"))
    """Whom to trust there for https, a file in PEM form; the system's authorities when unset."""
    span_delay_ms: float = Field(default=1_000, gt=0, validation_alias=AliasChoices("OTEL_BSP_SCHEDULE_DELAY"))
    """How long spans wait for others to be told of with."""
    tls_dir: Path | None = None
    """Certificates that services know each other by: `ca.pem`, and `<name>.pem` and `<name>.key` for each program."""
    plaintext: bool = False
    """Whether services speak without certificates where there is no `tls_dir`. On loopback only."""
    metrics_addresses: dict[str, str] = Field(default_factory=dict)
    """Where each service shows its figures to Prometheus, "host:port" by its name; nowhere for those left out."""
    shutdown_grace_seconds: float = 5.0
    """How long calls that are under way may take once the service is told to stop."""

    catalog_address: str = "127.0.0.1:7101"
    billing_estimate_address: str = "127.0.0.1:7102"
    accounts_address: str = "127.0.0.1:7103"
    scheduler_address: str = "127.0.0.1:7104"
    web_address: str = "127.0.0.1:7105"
    traces_address: str = "127.0.0.1:7106"

    @field_validator("database_url")
    @classmethod
    def _is_of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_address(url.get_secret_value()):
            raise ValueError("must be postgresql://user:password@host:port/database; leave it out for SQLite")
        return url

    @property
    def state_dir(self) -> Path:
        """Where databases live."""
        return self.home / "state"

    @property
    def objects_url(self) -> str:
        """Where videos live."""
        return (self.home / "objects").resolve().as_uri()


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "postgresql"
