"""What the catalogue needs from outside."""

from typing import Protocol

from services.catalog.domain import RouteTarget


class Fleet(Protocol):
    """The devices that can be used now."""

    async def targets(self) -> tuple[RouteTarget, ...]:
        """Every target of the fleet, ordered by device and region. ServiceUnavailable when nobody can say."""
        ...
