"""Settings of the estimates."""

from pydantic import Field

from services.chassis.config import ChassisSettings


class BillingEstimateSettings(ChassisSettings):
    """Settings of the estimates, from `FORGE_*` environment variables."""

    catalog_deadline_seconds: float = Field(default=2.0, gt=0)
    """How long the catalogue may take for each answer."""
