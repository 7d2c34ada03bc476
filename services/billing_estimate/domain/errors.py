"""What can be wrong with a question about money."""

from collections.abc import Collection, Iterable

from services.chassis.errors import ForgeError, Kind, Violation


class UnknownTarget(ForgeError):
    """Neither prices nor history know the device or the region of a pin. `metadata["known"]` lists what is known."""

    kind = Kind.INVALID
    reason = "UNKNOWN_TARGET"

    def __init__(self, violations: Collection[Violation], known: Iterable[str]) -> None:
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"unknown target: {listed}", violations=tuple(violations), metadata={"known": ",".join(known)})


class NoEstimate(ForgeError):
    """Nothing can be estimated for the selection: no target of it has both a time and a price."""

    kind = Kind.NOT_FOUND
    reason = "NO_ESTIMATE"


class RenderNotFound(ForgeError):
    """The caller's account has no render of this id whose attempt has ended."""

    kind = Kind.NOT_FOUND
    reason = "RENDER_NOT_FOUND"

    def __init__(self, render_id: str) -> None:
        super().__init__(f"there is no receipt of a render '{render_id[:100]}'", resource=("render", render_id[:100]))
