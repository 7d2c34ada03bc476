"""Errors as clients of the dialect read them."""

import re
from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from services.chassis.errors import ForgeError, Kind
from services.web.site import HTTP_CODES

_TYPES: Mapping[Kind, str] = {
    Kind.INVALID: "invalid_request_error",
    Kind.UNAUTHENTICATED: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.CONFLICT: "conflict_error",
    Kind.EXHAUSTED: "rate_limit_error",
    Kind.UNAVAILABLE: "server_error",
    Kind.INTERNAL: "server_error",
}
# What the dialect calls the inputs that it makes of its own.
_PARAMS = {"num_frames": "seconds", "width": "size", "height": "size", "image": "input_reference"}
_CODES = {"RENDER_NOT_FOUND": "video_not_found", "VIDEO_NOT_READY": "video_not_ready", "INVALID_INPUT": "invalid_value"}


def error_response(error: ForgeError) -> Response:
    """An error of the contract, in the dialect."""
    field = error.violations[0].field if error.violations else "model" if error.reason == "MODEL_NOT_FOUND" else None
    body = {
        "message": _words(error.message),
        "type": _TYPES[error.kind],
        "param": _PARAMS.get(field, field) if field else None,
        "code": _CODES.get(error.reason, error.reason.lower()),
    }
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = f"{max(1, round(error.retry_after_seconds))}"
    return JSONResponse({"error": body}, HTTP_CODES[error.kind], headers)


def _words(message: str) -> str:
    """A message that speaks of videos where the contract speaks of renders."""
    return re.sub(r"\brender (?=')", "video ", message)
