"""Between protobuf and the domain."""

import base64
import math
from collections.abc import Iterable
from datetime import timedelta

from envoy_ext_authz.v3 import external_auth_pb2 as envoy_pb2
from forge.accounts.v1 import account_service_pb2, api_key_pb2, session_service_pb2
from google.protobuf import duration_pb2
from google.protobuf.json_format import MessageToJson
from google.rpc import code_pb2, status_pb2

from services.accounts.domain import MAX_OVERLAP, MAX_TTL, ApiKey, Knock
from services.accounts.rates import Allowance, RateLimit, RateLimited
from services.accounts.usecases.guard import Pass
from services.accounts.usecases.keys import CreatedKey, RotatedKey
from services.accounts.usecases.sessions import BegunSession
from services.chassis.errors import ForgeError, Kind
from services.chassis.identity import SESSION_COOKIE, SESSION_HEADER, Caller
from services.chassis.status import to_status
from services.chassis.wire import present, timestamp

_HTTP_CODES = {Kind.UNAUTHENTICATED: 401, Kind.FORBIDDEN: 403, Kind.EXHAUSTED: 429}


def ttl_from_proto(request: account_service_pb2.CreateApiKeyRequest) -> timedelta | None:
    """How long the key shall work; None for ever."""
    return _duration(request.ttl, MAX_TTL) if request.HasField("ttl") else None


def overlap_from_proto(request: account_service_pb2.RotateApiKeyRequest) -> timedelta | None:
    """How long the old key shall work on; None where the caller does not say."""
    return _duration(request.overlap, MAX_OVERLAP) if request.HasField("overlap") else None


def rate_limit_from_proto(request: account_service_pb2.CreateApiKeyRequest) -> RateLimit | None:
    """How often the key may be used; None where it shall have no limit of its own."""
    if not request.HasField("rate_limit"):
        return None
    return RateLimit.with_burst_of(request.rate_limit.requests_per_second, present(request.rate_limit, "burst"))


def key_to_proto(key: ApiKey) -> api_key_pb2.ApiKey:
    """A key as it can be shown."""
    return api_key_pb2.ApiKey(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(key.scopes),
        created_at=timestamp(key.created_at),
        expires_at=timestamp(key.expires_at),
        revoked_at=timestamp(key.revoked_at),
        last_used_at=timestamp(key.last_used_at),
        replaces=key.replaces or "",
        replaced_by=key.replaced_by or "",
        rate_limit=_rate_limit_to_proto(key.rate_limit),
    )


def keys_to_proto(keys: Iterable[ApiKey]) -> account_service_pb2.ListApiKeysResponse:
    """All keys of an account."""
    return account_service_pb2.ListApiKeysResponse(api_keys=[key_to_proto(key) for key in keys])


def created_to_proto(created: CreatedKey) -> account_service_pb2.CreateApiKeyResponse:
    """A new key with its secret."""
    return account_service_pb2.CreateApiKeyResponse(api_key=key_to_proto(created.key), secret=created.secret)


def rotated_to_proto(rotated: RotatedKey) -> account_service_pb2.RotateApiKeyResponse:
    """Both keys of a rotation, with the new one's secret."""
    return account_service_pb2.RotateApiKeyResponse(
        api_key=key_to_proto(rotated.key), secret=rotated.secret, replaced=key_to_proto(rotated.replaced)
    )


def account_to_proto(caller: Caller) -> api_key_pb2.Account:
    """Who is calling."""
    return api_key_pb2.Account(account=caller.account, api_key_id=caller.key_id, scopes=sorted(caller.scopes))


def begun_to_proto(begun: BegunSession) -> session_service_pb2.CreateSessionResponse:
    """A new session with its token."""
    return session_service_pb2.CreateSessionResponse(
        token=begun.token, expires_at=timestamp(begun.session.expires_at), session_id=begun.session.id
    )


def ended_to_proto() -> session_service_pb2.EndSessionResponse:
    """A session has ended."""
    return session_service_pb2.EndSessionResponse()


def knock_of(request: envoy_pb2.CheckRequest) -> Knock:
    """What the edge says of a request."""
    http = request.attributes.request.http
    return Knock(
        method=http.method,
        host=http.host,
        authorization=http.headers.get("authorization", ""),
        session_token=_cookie(http.headers.get("cookie", ""), SESSION_COOKIE),
        origin=http.headers.get("origin", ""),
        fetch_site=http.headers.get("sec-fetch-site", ""),
        is_public=request.attributes.context_extensions.get("access") == "public",
    )


def verdict_to_proto(verdict: Pass | ForgeError, request: envoy_pb2.CheckRequest) -> envoy_pb2.CheckResponse:
    """What Envoy shall do with a request."""
    return _passed(verdict) if isinstance(verdict, Pass) else _refused(verdict, request)


def _passed(found: Pass) -> envoy_pb2.CheckResponse:
    """Let it pass, in the name of the key where there is one."""
    headers: list[tuple[str, str]] = []
    if found.key is not None:
        headers += Caller(account=found.key.account, key_id=found.key.id, scopes=found.key.scopes).to_metadata()
    if found.session_id:
        headers.append((SESSION_HEADER, found.session_id))
    return envoy_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=envoy_pb2.OkHttpResponse(
            headers=[_header(name, value) for name, value in headers],
            headers_to_remove=["authorization", "cookie"],  # no service needs the secrets, so none can leak them
            response_headers_to_add=_allowance_headers(found.allowance),
        ),
    )


def _refused(refusal: ForgeError, request: envoy_pb2.CheckRequest) -> envoy_pb2.CheckResponse:
    """Refuse: JSON for REST; for gRPC the text that Envoy makes the status message, its details beside it."""
    status = to_status(refusal)
    content_type = request.attributes.request.http.headers.get("content-type", "")
    headers = [_header("www-authenticate", "Bearer")] if status.code == code_pb2.UNAUTHENTICATED else []
    if isinstance(refusal, RateLimited):
        headers += _allowance_headers(refusal.allowance)
    if content_type == "application/grpc" or content_type.startswith("application/grpc+"):
        headers.append(_header("grpc-status", str(status.code)))  # Envoy would make UNAVAILABLE of a 429
        headers.append(_header("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode()))
        body = status.message
    else:
        headers.append(_header("content-type", "application/json"))
        body = MessageToJson(status, preserving_proto_field_name=True, indent=None)
    return envoy_pb2.CheckResponse(
        status=status_pb2.Status(code=status.code),
        denied_response=envoy_pb2.DeniedHttpResponse(
            status=envoy_pb2.HttpStatus(code=_HTTP_CODES[refusal.kind]), headers=headers, body=body
        ),
    )


def _allowance_headers(allowance: Allowance | None) -> list[envoy_pb2.HeaderValueOption]:
    """How a rate limit stands, as clients read it: whole requests, and whole seconds that are rather too many."""
    if allowance is None:
        return []
    headers = [
        _header("ratelimit-limit", str(allowance.limit.burst)),
        _header("ratelimit-remaining", str(allowance.remaining)),
        _header("ratelimit-reset", str(math.ceil(allowance.full_in_seconds))),
    ]
    if allowance.retry_after_seconds is not None:
        headers.append(_header("retry-after", str(math.ceil(allowance.retry_after_seconds))))
    return headers


def _duration(wire: duration_pb2.Duration, longest: timedelta) -> timedelta:
    """A duration of the wire. They reach further than Python's: it is cut to what the rules refuse anyway."""
    seconds = min(max(wire.seconds, -1), int(longest.total_seconds()) + 1)
    return timedelta(seconds=seconds, microseconds=wire.nanos / 1000)


def _rate_limit_to_proto(limit: RateLimit | None) -> api_key_pb2.RateLimit | None:
    if limit is None:
        return None
    return api_key_pb2.RateLimit(requests_per_second=limit.requests_per_second, burst=limit.burst)


def _cookie(header: str, name: str) -> str:
    """The value of a cookie; empty when the header has none or more than one of the name."""
    values = [value for key, _, value in (pair.strip().partition("=") for pair in header.split(";")) if key == name]
    return values[0] if len(values) == 1 else ""


def _header(name: str, value: str) -> envoy_pb2.HeaderValueOption:
    """A header that replaces whatever the request has under its name."""
    return envoy_pb2.HeaderValueOption(
        header=envoy_pb2.HeaderValue(key=name, value=value),
        append_action=envoy_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
