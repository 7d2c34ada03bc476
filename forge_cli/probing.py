"""Following probes to their end, and showing meanwhile what each of them does."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager

from forge.scheduler.v1.probe_pb2 import Probe
from forge.scheduler.v1.probe_service_pb2 import GetProbeRequest
from google.rpc import code_pb2
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client
from forge_cli.patience import Patience
from forge_cli.statuses import RequestFailed

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
_FINISHED_RUNS = frozenset({"succeeded", "failed", "canceled", "expired"})
_LOOK_EVERY_SECONDS = 1.0

Show = Callable[[Sequence[Probe]], None]


async def follow_probes(
    client: Client, probes: Sequence[Probe], patience: Patience
) -> AsyncGenerator[Sequence[Probe], None]:
    """The probes as they stand, about once a second, until all of them have ended.

    A platform that cannot answer is asked again as long as `patience` bears it.
    """
    yield probes
    while any(probe.status not in FINAL_STATUSES for probe in probes):
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        probes = [probe if probe.status in FINAL_STATUSES else await _look(client, probe, patience) for probe in probes]
        yield probes


async def pause() -> None:
    """The time between two looks."""
    await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _look(client: Client, probe: Probe, patience: Patience) -> Probe:
    while True:
        try:
            request = GetProbeRequest(probe_id=probe.id)
            found = await client.call(client.probes.GetProbe, request, retry_seconds=0)
        except RequestFailed as trouble:
            if trouble.code != code_pb2.UNAVAILABLE:
                raise
            await patience.bear(trouble)
        else:
            patience.heard()
            return found


@contextmanager
def probes_view(console: Console) -> Iterator[Show]:
    """Something that shows how probes stand: lines that change on a terminal, otherwise a line for each change."""
    if console.is_terminal:
        with console.status("") as status:
            yield lambda probes: status.update(Text("\n".join(standing(probe) for probe in probes)))
        return
    shown: dict[str, str] = {}

    def show(probes: Sequence[Probe]) -> None:
        for probe in probes:
            if shown.get(probe.id) != standing(probe):
                shown[probe.id] = standing(probe)
                console.print(Text(standing(probe)), soft_wrap=True)

    yield show


def standing(probe: Probe) -> str:
    """How a probe stands: "prb_1  L40S eu-north1  run 2 of 5: denoising, step 3 of 8; gave way once"."""
    at = probe.message if probe.status == "running" else ": ".join(filter(None, (probe.status, probe.message)))
    if probe.yields:
        at += f"; gave way {'once' if probe.yields == 1 else f'{probe.yields} times'}"
    return f"{probe.id}  {words.target(probe.target)}  {at}"


def finished_runs(probe: Probe) -> int:
    """How many of its runs have ended."""
    return sum(run.status in _FINISHED_RUNS for run in probe.runs)
