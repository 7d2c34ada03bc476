"""Settings of the span store."""

from pathlib import Path

from pydantic import Field

from services.chassis.config import ChassisSettings


class TracesSettings(ChassisSettings):
    """Settings of the span store, from `FORGE_*` environment variables."""

    traces_days: float = Field(default=7.0, gt=0)
    """How long the traces of renders are kept."""
    traces_other_hours: float = Field(default=1.0, gt=0)
    """How long the traces of other requests are kept."""
    traces_max_mib: float = Field(default=256.0, ge=1)
    """How large the database may grow; beyond it the oldest traces go, those of renders last."""

    @property
    def database_path(self) -> Path:
        """Where spans are kept."""
        return self.state_dir / "traces.sqlite3"
