"""Which machines of a cluster are there: only they have slots that can be used."""

from contextlib import aclosing

from services.scheduler.ports import Cluster
from services.scheduler.usecases.runtimes import Runtimes


async def keep_to_machines(cluster: Cluster, runtimes: Runtimes) -> None:
    """Have runtimes start on machines that are there alone; runs until canceled."""
    async with aclosing(cluster.machines()) as found:
        async for machines in found:
            runtimes.know_machines(machines)
