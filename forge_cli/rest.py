"""The REST API as any HTTP client would use it; the demo goes this way."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from forge.scheduler.v1.render_pb2 import Render, RenderEvent
from google.protobuf import json_format
from google.protobuf.message import Message

from forge_cli.failures import CommandFailed
from forge_cli.settings import Settings, is_loopback
from forge_cli.statuses import from_response, unreachable
from forge_cli.videos import Arriving
from forge_cli.watching import FINAL_STATUSES

_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0

Answer = TypeVar("Answer", bound=Message)


class RestClient:
    """Calls to /v1. A context manager. Every method raises RequestFailed when the API says no."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self._api_base = settings.api_base
        self._http = httpx.Client(
            base_url=f"{settings.api_base}/v1/",
            headers={"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
            timeout=60.0,  # longer than the 15 s between two signs of life
            trust_env=not is_loopback(settings.api_base),
            transport=transport,
        )

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def example_body(self, slug: str) -> dict[str, Any]:
        """The request body that the model's page shows."""
        return self._json("GET", f"models/{slug}/input-schema")["example"]

    def create_render(self, body: dict[str, Any]) -> Render:
        """Accept a render."""
        return _parsed(self._json("POST", "renders", body), Render())

    def get_render(self, render_id: str) -> Render:
        """The render as it stands."""
        return _parsed(self._json("GET", f"renders/{render_id}"), Render())

    def events(self, render_id: str) -> Iterator[RenderEvent]:
        """The render's events, each once and in order, to the last one; a broken stream is taken up again."""
        after_seq, broken_since = 0, None
        while True:
            try:
                for event in self._event_stream(render_id, after_seq):
                    broken_since = None
                    if event.keep_alive or event.seq <= after_seq:
                        continue
                    after_seq = event.seq
                    yield event
                    if event.status in FINAL_STATUSES:
                        return
            except httpx.TransportError:
                pass  # as when the stream ends before the render does
            broken_since = broken_since or time.monotonic()
            if time.monotonic() - broken_since > _PATIENCE_SECONDS:
                raise unreachable(self._api_base, "the event stream ended early")
            time.sleep(_PAUSE_SECONDS)

    def save_video(self, render: Render, path: Path) -> None:
        """Write the render's video to `path`, whole or not at all."""
        try:
            with self._http.stream("GET", f"renders/{render.id}/video") as response, Arriving(path) as arriving:
                if response.is_error:
                    response.read()
                    raise from_response(response)
                for part in response.iter_bytes():
                    arriving.write(part)
                arriving.keep(sha256=render.output.sha256, render_id=render.id)
        except httpx.TransportError as error:
            raise unreachable(self._api_base, str(error)) from error

    def _event_stream(self, render_id: str, after_seq: int) -> Iterator[RenderEvent]:
        address = f"renders/{render_id}/events"
        with self._http.stream("GET", address, params={"after_seq": after_seq}) as response:
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return
            if response.is_error:
                response.read()
                raise from_response(response)
            for line in response.iter_lines():
                if line.strip():
                    yield _parsed(json.loads(line), RenderEvent())

    def _json(self, method: str, address: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, address, json=body)
        except httpx.TransportError as error:
            raise unreachable(self._api_base, str(error)) from error
        if response.is_error:
            raise from_response(response)
        return response.json()


def _parsed(fields: Any, message: Answer) -> Answer:
    try:
        return json_format.ParseDict(fields, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise CommandFailed("the API's answer cannot be understood", facts=[str(error)]) from error
