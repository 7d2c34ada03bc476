"""Bytes of videos over HTTP: whole or in part, finished or growing."""

from datetime import datetime
from typing import Any

import structlog
from forge.scheduler.v1 import render_service_pb2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.chassis.errors import ForgeError, InvalidInput, Violation
from services.chassis.identity import Caller
from services.web.adapters.contract import ask
from services.web.adapters.video_bytes import VideoBytes, open_video
from services.web.domain.byte_ranges import File, NotSatisfiable, is_known, part_of
from services.web.site import error_as_json, site_of
from services.web.viewer import known_viewer_of

log = structlog.get_logger()

MEDIA_TYPE = "video/mp4"
_KEPT = "private, max-age=31536000, immutable"
_GROWING = "no-store"


async def show(request: Request) -> Response:
    """The video of a render, for whoever owns it."""
    viewer = known_viewer_of(request)
    as_attachment = request.query_params.get("download", "") not in ("", "0", "false")
    return await video_response(request, viewer.caller, request.path_params["render_id"], as_attachment=as_attachment)


async def video_response(request: Request, caller: Caller, render_id: str, *, as_attachment: bool) -> Response:
    """The video of a render of the caller's, or the part of it that the request asks for.

    One that still grows comes from its beginning, and breaks off where the render does. Raises ForgeError.
    """
    contract = site_of(request).contract
    render = await ask(contract.renders.GetRender, render_service_pb2.GetRenderRequest(render_id=render_id), caller)
    headers = {
        "content-disposition": f'{"attachment" if as_attachment else "inline"}; filename="{file_name(render)}"',
        "content-type": MEDIA_TYPE,
    }
    if "output" not in render:
        video = await open_video(contract, caller, render_id)
        return _answer(request, video, 200, headers | {"cache-control": _GROWING})
    file = _file(render)
    headers |= {
        "content-type": render["output"]["media_type"],
        "cache-control": _KEPT,
        "etag": file.etag,
        "last-modified": file.last_modified,
        "accept-ranges": "bytes",
    }
    asked = request.headers.get
    if is_known(file, if_none_match=asked("if-none-match"), if_modified_since=asked("if-modified-since")):
        return _without_body(304, headers)
    if request.method == "HEAD":  # a range is of what is sent, and nothing is; a byte tells whether the video is there
        video = await open_video(contract, caller, render_id, length=1)
        return _answer(request, video, 200, headers | {"content-length": str(file.size)})
    try:
        part = part_of(file, wanted=asked("range"), if_range=asked("if-range"))
    except NotSatisfiable:
        return _not_satisfiable(file)
    if part is None:
        video = await open_video(contract, caller, render_id)
        return _answer(request, video, 200, headers | {"content-length": str(file.size)})
    video = await open_video(contract, caller, render_id, offset=part.start, length=len(part))
    headers |= {
        "content-length": str(len(part)),
        "content-range": f"bytes {part.start}-{part.stop - 1}/{file.size}",
    }
    return _answer(request, video, 206, headers)


def file_name(render: dict[str, Any]) -> str:
    """The name that a video is saved under."""
    return f"{render['slug']}-{render['id']}.mp4"


def _file(render: dict[str, Any]) -> File:
    output = render["output"]
    return File(output["size_bytes"], f'"{output["sha256"]}"', datetime.fromisoformat(render["ended_at"]))


def _answer(request: Request, video: VideoBytes, status: int, headers: dict[str, str]) -> Response:
    if request.method == "HEAD":
        video.close()
        return _without_body(status, headers)
    return _Streamed(video, status, headers)


def _without_body(status: int, headers: dict[str, str]) -> Response:
    response = Response(status_code=status)
    del response.headers["content-length"]  # that of this body, which is none
    response.headers.update(headers)
    return response


def _not_satisfiable(file: File) -> Response:
    response = error_as_json(
        InvalidInput([Violation("Range", f"must begin within the {file.size} bytes of the video")])
    )
    response.status_code = 416
    response.headers["content-range"] = f"bytes */{file.size}"
    return response


class _Streamed(StreamingResponse):
    """A video on its way to a client; when the client goes away, it is let go of."""

    def __init__(self, video: VideoBytes, status: int, headers: dict[str, str]) -> None:
        super().__init__(video.parts(), status, headers)
        self._video = video

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except ForgeError as error:
            # The body is left without its end: the connection breaks, and nobody takes a part for the whole.
            log.info("a video was cut off", reason=error.reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._video.close()


ROUTES = [Route("/v1/renders/{render_id}/video", show)]
