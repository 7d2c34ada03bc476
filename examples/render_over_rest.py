"""Renders over REST with httpx: `python examples/render_over_rest.py [request.json]`."""

import json
import os
import sys
from pathlib import Path

import httpx

SMALL = {"model": "skywork-skyreels-v2", "prompt": "a red square", "width": 320, "height": 192, "num_frames": 17}


def main() -> int:
    """Render, follow, save."""
    body = json.loads(Path(sys.argv[1]).read_text()) if sys.argv[1:] else SMALL
    headers = {"authorization": f"Bearer {os.environ['FORGE_API_KEY']}"}
    with httpx.Client(base_url=os.environ["FORGE_API_BASE"], headers=headers, timeout=60) as http:
        answer = http.post("/v1/renders", json=body)
        if answer.is_error:
            print(answer.json()["message"], file=sys.stderr)
            return 1
        render_id = answer.json()["id"]
        event = {}
        with http.stream("GET", f"/v1/renders/{render_id}/events") as events:
            for line in filter(None, events.iter_lines()):
                event = json.loads(line)
                if not event["keep_alive"]:
                    print(f"{event['progress']['fraction']:4.0%} {event['phase']}", file=sys.stderr)
        if event["status"] != "succeeded":
            print(f"{render_id} {event['status']}", file=sys.stderr)
            return 1
        with http.stream("GET", f"/v1/renders/{render_id}/video") as video, Path(f"{render_id}.mp4").open("wb") as file:
            for part in video.iter_bytes():
                file.write(part)
    print(file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
