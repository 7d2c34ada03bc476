"""The routes of the dialect."""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import structlog
from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import render_service_pb2
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.chassis.errors import ForgeError, InvalidInput, Kind, MalformedRequest, Violation
from services.chassis.identity import Caller
from services.chassis.status import errors_of
from services.web.adapters.contract import TIMEOUT_SECONDS, as_json, ask
from services.web.media import video_response
from services.web.site import Site, site_of
from services.web.videos.errors import error_response
from services.web.videos.translation import data_uri, inference_body, video
from services.web.viewer import known_viewer_of

log = structlog.get_logger()

IDEMPOTENCY_HEADER = "idempotency-key"
DEFAULT_LIMIT, MOST = 20, 100
_LARGEST_FIELD_BYTES = 16 * 1024 * 1024
"""The edge takes no larger body."""

Handler = Callable[[Request], Awaitable[Response]]


def _in_its_words(handler: Handler) -> Handler:
    """A handler whose errors are the dialect's."""

    @wraps(handler)
    async def handled(request: Request) -> Response:
        try:
            return await handler(request)
        except ForgeError as error:
            return error_response(error)
        except HTTPException as error:  # a form that cannot be read
            return error_response(MalformedRequest(error.detail))
        except Exception as error:
            log.error("unexpected error", route="videos", exc_info=error)
            return error_response(ForgeError("internal error"))

    return handled


@_in_its_words
async def create(request: Request) -> Response:
    """Accept a video."""
    site, caller = site_of(request), known_viewer_of(request, "inference").caller
    asked = await _asked(request)
    if not isinstance(asked.get("model"), str) or not asked["model"]:
        raise InvalidInput([Violation("model", "is required: the slug of a model of the catalogue")])
    body, notes = inference_body(asked, await _schema(site, caller, asked))
    render = await _create_render(site, caller, body, request.headers.get(IDEMPOTENCY_HEADER, ""))
    made = video(render, prompt=asked.get("prompt"))
    return JSONResponse(made | {"warnings": [*made["warnings"], *notes]})


@_in_its_words
async def show(request: Request) -> Response:
    """One video as it stands."""
    caller = known_viewer_of(request).caller
    wanted = render_service_pb2.GetRenderRequest(render_id=request.path_params["video_id"])
    return JSONResponse(video(await ask(site_of(request).contract.renders.GetRender, wanted, caller)))


@_in_its_words
async def listing(request: Request) -> Response:
    """The account's videos, the newest first unless `order` is asc; from just after the one that `after` names."""
    caller, query = known_viewer_of(request).caller, request.query_params
    limit, order = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", "desc")
    violations: list[Violation] = []
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= MOST):
        violations.append(Violation("limit", f"must be from 1 to {MOST}"))
    if order not in ("asc", "desc"):
        violations.append(Violation("order", "must be asc or desc"))
    after = query.get("after", "")
    if after and not after.startswith("rnd_"):
        violations.append(Violation("after", "must be the id of a video"))
    if violations:
        raise InvalidInput(violations)
    wanted = render_service_pb2.ListRendersRequest(page_size=int(limit), page_token=after, oldest_first=order == "asc")
    page = await ask(site_of(request).contract.renders.ListRenders, wanted, caller)
    videos = [video(render) for render in page["renders"]]
    return JSONResponse(
        {
            "object": "list",
            "data": videos,
            "first_id": videos[0]["id"] if videos else None,
            "last_id": videos[-1]["id"] if videos else None,
            "has_more": bool(page["next_page_token"]),
        }
    )


@_in_its_words
async def delete(request: Request) -> Response:
    """Remove a video for good; one that is being made is canceled first."""
    caller = known_viewer_of(request, "inference").caller
    wanted = render_service_pb2.DeleteRenderRequest(render_id=request.path_params["video_id"])
    gone = await ask(site_of(request).contract.renders.DeleteRender, wanted, caller)
    return JSONResponse({"id": gone["render_id"], "object": "video.deleted", "deleted": True})


@_in_its_words
async def content(request: Request) -> Response:
    """The bytes of a video, or of the picture that stands for it."""
    caller, variant = known_viewer_of(request).caller, request.query_params.get("variant", "video")
    render_id = request.path_params["video_id"]
    match variant:
        case "video":
            return await video_response(request, caller, render_id, as_attachment=True)
        case "thumbnail":
            return await _thumbnail(site_of(request), caller, render_id)
        case _:
            raise InvalidInput([Violation("variant", "must be video or thumbnail")])


@_in_its_words
async def unknown(request: Request) -> Response:
    """What the dialect has and Forge does not, and what nobody has."""
    raise ForgeError(
        f"no route has this path and method: {request.method} {request.url.path}",
        kind=Kind.NOT_FOUND,
        reason="ROUTE_NOT_FOUND",
    )


async def _asked(request: Request) -> dict[str, Any]:
    """What a request asks for, sent as JSON or as a form."""
    if request.headers.get("content-type", "").lower().startswith(("multipart/", "application/x-www-form-urlencoded")):
        return await _form(request)
    try:
        asked = json.loads(await request.body())
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise MalformedRequest("the body must be a JSON object or a form")
    if isinstance(reference := asked.get("input_reference"), dict):
        uploaded = reference.get("file_id")
        asked["input_reference"] = f"forge-upload://{uploaded}" if uploaded else reference.get("image_url", "")
    return asked


async def _form(request: Request) -> dict[str, Any]:
    async with request.form(max_files=4, max_fields=100, max_part_size=_LARGEST_FIELD_BYTES) as form:
        asked: dict[str, Any] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                value = data_uri(await value.read(), value.content_type or "application/octet-stream")
            asked["input_reference" if name == "input_reference[image_url]" else name] = value
        return asked


async def _schema(site: Site, caller: Caller, asked: dict[str, Any]) -> dict[str, Any]:
    wanted = catalog_service_pb2.GetInputSchemaRequest(
        slug=asked["model"], model_version=str(asked.get("model_version") or "")
    )
    found = await ask(site.contract.catalog.GetInputSchema, wanted, caller)
    return found["schema"]


async def _create_render(site: Site, caller: Caller, body: dict[str, Any], key: str) -> dict[str, Any]:
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput([Violation(IDEMPOTENCY_HEADER, "must be printable ASCII")])
    wanted = render_service_pb2.CreateRenderRequest()
    wanted.input.update(body)
    metadata = [*caller.to_metadata(), *([(IDEMPOTENCY_HEADER, key)] if key else [])]
    create: Any = site.contract.renders.CreateRender
    async with errors_of("the scheduler"):
        return as_json(await create(wanted, metadata=metadata, timeout=TIMEOUT_SECONDS))


async def _thumbnail(site: Site, caller: Caller, render_id: str) -> Response:
    get: Any = site.contract.renders.GetThumbnail
    async with errors_of("the scheduler"):
        picture = await get(
            render_service_pb2.GetThumbnailRequest(render_id=render_id),
            metadata=caller.to_metadata(),
            timeout=TIMEOUT_SECONDS,
        )
    return Response(picture.data, media_type=picture.content_type, headers={"cache-control": "private, max-age=86400"})


ROUTES = [
    Route("/v1/videos", create, methods=["POST"]),
    Route("/v1/videos", listing, methods=["GET"]),
    Route("/v1/videos/{video_id}", show, methods=["GET"]),
    Route("/v1/videos/{video_id}", delete, methods=["DELETE"]),
    Route("/v1/videos/{video_id}/content", content, methods=["GET"]),
    Route("/v1/videos", unknown, methods=["PUT", "PATCH", "DELETE"]),
    Route("/v1/videos/{rest:path}", unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
]
