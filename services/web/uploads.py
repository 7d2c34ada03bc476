"""Files that are sent beforehand, as a body or in a form."""

from typing import Any

from forge.scheduler.v1 import upload_service_pb2
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.chassis.errors import InvalidInput, Violation
from services.chassis.images import MAX_FILE_BYTES
from services.web.adapters.contract import ask
from services.web.site import site_of
from services.web.viewer import known_viewer_of

FIELD = "file"
"""The field of a form that holds the file."""

_FORM = "multipart/form-data"
_SAYS_NOTHING = ("application/octet-stream", "application/x-www-form-urlencoded")
"""Media types of a body whose sender told none; the second is what curl then says."""


async def create(request: Request) -> Response:
    """Keep a file. Raises ForgeError."""
    caller = known_viewer_of(request, "inference").caller
    media_type, data = await _file(request)
    wanted = upload_service_pb2.CreateUploadRequest()
    wanted.file.content_type, wanted.file.data = media_type, data
    uploads: Any = site_of(request).contract.uploads
    return JSONResponse(await ask(uploads.CreateUpload, wanted, caller))


async def _file(request: Request) -> tuple[str, bytes]:
    """The media type of what was sent, empty where nobody told it, and the bytes."""
    media_type = request.headers.get("content-type", "")
    if media_type.lower().startswith(_FORM):
        async with request.form(max_files=1, max_fields=10, max_part_size=MAX_FILE_BYTES) as form:
            sent = form.get(FIELD)
            if not isinstance(sent, UploadFile):
                raise InvalidInput([Violation(FIELD, f"is required: send the file in the field '{FIELD}' of the form")])
            return _told(sent.content_type or ""), await sent.read(MAX_FILE_BYTES + 1)
    return _told(media_type), await _body(request)


async def _body(request: Request) -> bytes:
    """The body; of one that is too large, as much as shows that."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_FILE_BYTES:
            break
    return b"".join(parts)


def _told(media_type: str) -> str:
    return "" if media_type.partition(";")[0].strip().lower() in _SAYS_NOTHING else media_type


ROUTES = [Route("/v1/uploads", create, methods=["POST"])]
