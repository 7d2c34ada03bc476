"""A client of Forge over gRPC: `Forge` for programs that wait, `AsyncForge` for asyncio."""

from forge_client.async_client import AsyncForge
from forge_client.bodies import as_struct
from forge_client.errors import ForgeError, Violation
from forge_client.sync_client import Forge

__all__ = ["AsyncForge", "Forge", "ForgeError", "Violation", "as_struct"]
