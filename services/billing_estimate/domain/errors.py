"""What can be wrong with a question about money."""

from services.chassis.errors import ForgeError, Kind


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
