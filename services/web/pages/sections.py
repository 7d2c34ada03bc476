"""Parts of a page that stand for themselves: a service that does not answer costs the page only its part."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import ForgeError, Kind, ServiceUnavailable, Unauthenticated

_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Section:
    """What a call answered, or why it did not."""

    facts: Mapping[str, Any]
    error: ForgeError | None = None

    @property
    def is_there(self) -> bool:
        """Whether the call answered."""
        return self.error is None

    @property
    def is_service_away(self) -> bool:
        """Whether its service does not answer; other errors are answers."""
        return self.error is not None and self.error.kind in (Kind.UNAVAILABLE, Kind.INTERNAL)


async def section(asked: Awaitable[Mapping[str, Any]]) -> Section:
    """The outcome of a call. A service that says nothing for 3 seconds does not answer.

    Raises Unauthenticated when the session ended meanwhile.
    """
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return Section(await asked)
    except TimeoutError:
        return Section({}, ServiceUnavailable("a service of the platform"))
    except ForgeError as error:
        if error.kind is Kind.UNAUTHENTICATED:
            raise Unauthenticated from error
        return Section({}, error)
