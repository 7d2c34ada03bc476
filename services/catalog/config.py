"""Settings of the catalogue."""

from pydantic import Field

from services.chassis.config import ChassisSettings


class CatalogSettings(ChassisSettings):
    """Settings of the catalogue, from `FORGE_*` environment variables."""

    capacity_deadline_seconds: float = Field(default=2.0, gt=0)
    """How long the scheduler may take to say what is free."""
