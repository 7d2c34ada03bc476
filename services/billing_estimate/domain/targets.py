"""Where a request runs, and which targets a request admits."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Target:
    """A device in a region; `region` is "" where a source gives none."""

    gpu_type: str
    region: str

    def __str__(self) -> str:
        return f"{self.gpu_type} in {self.region}"


@dataclass(frozen=True)
class Pin:
    """A selected device and region; None is any."""

    gpu_type: str | None
    region: str | None

    def __str__(self) -> str:
        return f"{self.gpu_type or 'any device'} in {self.region or 'any region'}"

    def admits(self, target: Target) -> bool:
        """Whether a request with this pin may go to the target."""
        return self.gpu_type in (None, target.gpu_type) and self.region in (None, target.region)
