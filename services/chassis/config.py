"""Settings every service has, read once at start from `FORGE_*` environment variables."""

import os
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.strict_yaml import ConfigurationInvalid

Settings = TypeVar("Settings", bound=BaseSettings)
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
    objects_url: str = Field(default_factory=lambda given: _objects_dir(given["home"]).resolve().as_uri())
    """Where videos, uploads and checkpoints lie: s3://bucket/prefix, or file:///folder."""
    s3_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )
    """Where the bucket's server is: http(s)://host:port; that of Amazon in the bucket's region when unset."""
    s3_region: str = Field(default="us-east-1", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    """The bucket's region; most servers other than Amazon's do not care."""
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

    @field_validator("objects_url")
    @classmethod
    def _is_of_objects(cls, url: str) -> str:
        parts = urlsplit(url)
        is_bucket = parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc
        is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if not (is_bucket or is_folder) or parts.query or parts.fragment:
            raise ValueError("must be s3://bucket/prefix or file:///folder; leave it out for objects/ in the home")
        return url.rstrip("/") if is_bucket else url

    @field_validator("s3_endpoint")
    @classmethod
    def _is_of_s3(cls, url: str | None) -> str | None:
        return None if url is None else expect_origin(url)

    @property
    def has_bucket(self) -> bool:
        """Whether objects lie in a bucket."""
        return self.objects_url.startswith("s3:")

    @property
    def objects_dir(self) -> Path:
        """Where objects lie that are not in a bucket, unless told otherwise."""
        return _objects_dir(self.home)

    @property
    def state_dir(self) -> Path:
        """Where databases live."""
        return self.home / "state"


class SettingsInvalid(ConfigurationInvalid):
    """Variables of the environment are wrong; the message names each, and does not repeat what it says."""


def read_settings(kind: type[Settings]) -> Settings:
    """Settings from the environment. Raises SettingsInvalid."""
    try:
        return kind()
    except ValidationError as error:  # without the values: one may be a secret that was put under the wrong name
        faults = [f"{_variable(kind, fault['loc'])}: {_said(fault['msg'])}" for fault in error.errors()]
        raise SettingsInvalid(dict.fromkeys(faults)) from None


def variables_of(kind: type[BaseSettings], field: str) -> list[str]:
    """The variables that a field is read from."""
    alias = kind.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [str(alias or f"{kind.model_config.get('env_prefix', '')}{field}").upper()]


def _variable(kind: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    """The variable that a fault is about. Pydantic names a field by its first alias, or by its own name."""
    name = str(location[0]) if location else ""
    for field in kind.model_fields:
        names = variables_of(kind, field)
        if name in (field, *names):
            return next((given for given in names if given in os.environ), names[0])
    return name


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def _objects_dir(home: Path) -> Path:
    return home / "objects"


def names_in(text: str) -> list[str]:
    """The names in a setting that has several, separated by commas."""
    return [name for part in text.split(",") if (name := part.strip())]


def expect_origin(url: str) -> str:
    """An address of a server without a path, as it is written. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must be http://host:port or https://host:port")
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "postgresql"
