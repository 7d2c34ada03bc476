"""Where a request runs, and which targets a request admits."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from services.billing_estimate.domain.errors import UnknownTarget
from services.chassis.errors import Violation


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


def check_pin(pin: Pin, known: Iterable[Target]) -> None:
    """Raise UnknownTarget for a device or region that none of the known targets has."""
    targets = set(known)
    gpu_types = {target.gpu_type for target in targets}
    regions = {target.region for target in targets if target.region}
    violations = [
        Violation(field, f"'{value}' is not known here{_did_you_mean(value, names)}; known: {', '.join(sorted(names))}")
        for field, value, names in (("gpu_type", pin.gpu_type, gpu_types), ("region", pin.region, regions))
        if value is not None and value not in names
    ]
    if violations:
        raise UnknownTarget(violations, [f"{t.gpu_type}@{t.region}" for t in sorted(targets) if t.region])


def _did_you_mean(word: str, known: Collection[str]) -> str:
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f" (did you mean '{by_fold[close[0]]}'?)" if close else ""
