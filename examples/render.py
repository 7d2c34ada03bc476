"""Renders over gRPC and waits for it: `python examples/render.py [request.json]`."""

import json
import os
import sys
from pathlib import Path

from forge.scheduler.v1.render_service_pb2 import CreateRenderRequest, GetRenderRequest, GetVideoRequest
from forge_client import Forge, ForgeError, as_struct

SMALL = {"model": "skywork-skyreels-v2", "prompt": "a red square", "width": 320, "height": 192, "num_frames": 17}


def main() -> int:
    """Render, follow, save."""
    body = json.loads(Path(sys.argv[1]).read_text()) if sys.argv[1:] else SMALL
    with Forge(os.environ["FORGE_API_BASE"], os.environ["FORGE_API_KEY"]) as forge:
        try:
            render = forge.ask(forge.renders.CreateRender, CreateRenderRequest(input=as_struct(body)))
        except ForgeError as error:
            print(error, file=sys.stderr)
            for wrong in error.violations:
                print(f"  {wrong.field}: {wrong.description}", file=sys.stderr)
            return 1
        for event in forge.watch(render.id):
            print(f"{event.progress.fraction:4.0%} {event.phase}", file=sys.stderr)
        render = forge.ask(forge.renders.GetRender, GetRenderRequest(render_id=render.id))
        if render.status != "succeeded":
            print(f"{render.id} {render.status}: {render.error.message}", file=sys.stderr)
            return 1
        with Path(f"{render.id}.mp4").open("wb") as file:
            for part in forge.stream(forge.renders.GetVideo, GetVideoRequest(render_id=render.id)):
                file.write(part.data)
    print(file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
