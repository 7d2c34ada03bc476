"""Names that are not known, answered with those that are."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from services.chassis.errors import ForgeError, Kind, Violation


class UnknownTarget(ForgeError):
    """Nobody here knows the device or the region that was asked for. `metadata["known"]` lists what is known."""

    kind = Kind.INVALID
    reason = "UNKNOWN_TARGET"

    def __init__(self, violations: Collection[Violation], known: Iterable[str]) -> None:
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"unknown target: {listed}", violations=tuple(violations), metadata={"known": ",".join(known)})


def refuse_unknown_target(
    gpu_type: str | None, region: str | None, known_places: Collection[tuple[str, str | None]]
) -> None:
    """Raise UnknownTarget for a device or a region that is in none of the known places. None is any."""
    gpu_types = {known_type for known_type, _ in known_places}
    regions = {known_region for _, known_region in known_places if known_region}
    violations = [
        Violation(field, f"'{value}' is not known here{did_you_mean(value, known)}; known: {', '.join(sorted(known))}")
        for field, value, known in (("gpu_type", gpu_type, gpu_types), ("region", region, regions))
        if value is not None and value not in known
    ]
    if violations:
        raise UnknownTarget(violations, sorted({f"{name}@{where}" for name, where in known_places if where}))


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A close name that is known, as the end of a sentence; "" when none is close."""
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f" (did you mean '{by_fold[close[0]]}'?)" if close else ""
