"""Settings of the web service."""

from pathlib import Path

from services.chassis.config import ChassisSettings


class WebSettings(ChassisSettings):
    """What the web service reads from the environment."""

    public_catalogue: bool = True
    """Whether visitors without a session may look at the catalogue, its measurements and the fleet."""

    @property
    def link_secret_path(self) -> Path:
        """The secret that download links are signed with. All replicas need the same."""
        return self.home / "secrets" / "link-secret"
