"""Settings of the catalogue."""

from pathlib import Path

from pydantic import Field

from services.chassis.config import ChassisSettings, names_in


class CatalogSettings(ChassisSettings):
    """Settings of the catalogue, from `FORGE_*` environment variables."""

    capacity_deadline_seconds: float = Field(default=2.0, gt=0)
    """How long the scheduler may take to say what is free."""
    prices_deadline_seconds: float = Field(default=1.0, gt=0)
    """How long billing-estimate may take to say what devices cost."""
    fresh_days: int = Field(default=30, ge=1, le=3650)
    """How long a measurement counts: a target that was verified longer ago is stale."""

    models: str = ""
    """The slugs of the models that are served, separated by commas; all that have a file when empty."""

    @property
    def chosen_models(self) -> list[str]:
        """The slugs of the models that are served; all when there is none."""
        return names_in(self.models)

    @property
    def database_path(self) -> Path:
        """Where measurements are kept."""
        return self.state_dir / "catalog.sqlite3"
