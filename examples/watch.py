"""Renders three seeds at once over gRPC and watches them as they go: `python examples/watch.py [request.json]`."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from forge.scheduler.v1.render_service_pb2 import CreateRenderRequest, GetVideoRequest
from forge_client import AsyncForge, as_struct

SMALL = {"model": "skywork-skyreels-v2", "prompt": "a red square", "width": 320, "height": 192, "num_frames": 17}


async def render(forge: AsyncForge, body: dict[str, Any]) -> None:
    """One render, from its acceptance to its file."""
    accepted = await forge.ask(forge.renders.CreateRender, CreateRenderRequest(input=as_struct(body)))
    last = None
    async for event in forge.watch(accepted.id):
        last = event
        print(f"seed {body['seed']}: {event.progress.fraction:4.0%} {event.phase}", file=sys.stderr)
    if last is None or last.status != "succeeded":
        raise SystemExit(f"{accepted.id} {last.status if last else 'did not begin'}")
    parts = forge.stream(forge.renders.GetVideo, GetVideoRequest(render_id=accepted.id))
    with open(f"seed-{body['seed']}.mp4", "wb") as file:  # noqa: ASYNC230, PTH123 — a few parts, and nobody waits
        async for part in parts:
            file.write(part.data)
    print(file.name)


async def main(body: dict[str, Any]) -> None:
    """Render three seeds."""
    async with AsyncForge(os.environ["FORGE_API_BASE"], os.environ["FORGE_API_KEY"]) as forge:
        await asyncio.gather(*(render(forge, {**body, "seed": seed}) for seed in (1, 2, 3)))


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()) if sys.argv[1:] else SMALL))
