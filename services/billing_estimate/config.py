"""Settings of the estimates and receipts."""

from pathlib import Path

from pydantic import Field

from services.chassis.config import ChassisSettings


class BillingEstimateSettings(ChassisSettings):
    """Settings of the estimates and receipts, from `FORGE_*` environment variables."""

    catalog_deadline_seconds: float = Field(default=4.0, gt=0)
    """How long the catalogue may take for each answer. It waits for a scheduler that is away itself, for 2 s."""
    scheduler_deadline_seconds: float = Field(default=5.0, gt=0)
    """How long the scheduler may take to check an input."""
    idle_release_seconds: float = Field(default=900.0, gt=0)
    """How long a runtime stays warm after its last request; the scheduler reads the same setting."""

    @property
    def database_path(self) -> Path:
        """Where receipts are kept."""
        return self.state_dir / "billing.sqlite3"
