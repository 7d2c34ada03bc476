"""Between protobuf and the domain."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from envoy_ext_authz.v3 import external_auth_pb2 as envoy_pb2
from forge.accounts.v1 import account_service_pb2, api_key_pb2
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from services.accounts.domain import MAX_TTL, ApiKey
from services.accounts.usecases import CreatedKey
from services.chassis.errors import Unauthenticated
from services.chassis.identity import Caller
from services.chassis.status import to_status


def ttl_from_proto(request: account_service_pb2.CreateApiKeyRequest) -> timedelta | None:
    """How long the key shall work; None for ever."""
    if not request.HasField("ttl"):
        return None
    # The wire's durations reach further than Python's. Cut to what the rules refuse anyway.
    seconds = min(max(request.ttl.seconds, -1), int(MAX_TTL.total_seconds()) + 1)
    return timedelta(seconds=seconds, microseconds=request.ttl.nanos / 1000)


def key_to_proto(key: ApiKey) -> api_key_pb2.ApiKey:
    """A key as it can be shown."""
    return api_key_pb2.ApiKey(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(key.scopes),
        created_at=_timestamp(key.created_at),
        expires_at=_timestamp(key.expires_at),
        revoked_at=_timestamp(key.revoked_at),
        last_used_at=_timestamp(key.last_used_at),
    )


def keys_to_proto(keys: Iterable[ApiKey]) -> account_service_pb2.ListApiKeysResponse:
    """All keys of an account."""
    return account_service_pb2.ListApiKeysResponse(api_keys=[key_to_proto(key) for key in keys])


def created_to_proto(created: CreatedKey) -> account_service_pb2.CreateApiKeyResponse:
    """A new key with its secret."""
    return account_service_pb2.CreateApiKeyResponse(api_key=key_to_proto(created.key), secret=created.secret)


def account_to_proto(caller: Caller) -> api_key_pb2.Account:
    """Who is calling."""
    return api_key_pb2.Account(account=caller.account, api_key_id=caller.key_id, scopes=sorted(caller.scopes))


def authorization_of(request: envoy_pb2.CheckRequest) -> str:
    """The `authorization` header of a request at the edge; empty when there is none."""
    return request.attributes.request.http.headers.get("authorization", "")


def verdict_to_proto(key: ApiKey | None, request: envoy_pb2.CheckRequest) -> envoy_pb2.CheckResponse:
    """What Envoy shall do: let the request pass in the name of `key`, or refuse it when there is none."""
    if key is None:
        content_type = request.attributes.request.http.headers.get("content-type", "")
        return _refused(grpc=content_type == "application/grpc" or content_type.startswith("application/grpc+"))
    caller = Caller(account=key.account, key_id=key.id, scopes=key.scopes)
    return envoy_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=envoy_pb2.OkHttpResponse(
            headers=[_header(name, value) for name, value in caller.to_metadata()],
            headers_to_remove=["authorization"],  # no service needs the secret, so none can leak it
        ),
    )


def _refused(*, grpc: bool) -> envoy_pb2.CheckResponse:
    """A refusal: JSON for REST; for gRPC the text that Envoy makes the status message, its details beside it."""
    status = to_status(Unauthenticated())
    headers = [_header("www-authenticate", "Bearer")]
    if grpc:
        headers.append(_header("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode()))
        body = status.message
    else:
        headers.append(_header("content-type", "application/json"))
        body = MessageToJson(status, preserving_proto_field_name=True, indent=None)
    return envoy_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.UNAUTHENTICATED),
        denied_response=envoy_pb2.DeniedHttpResponse(status=envoy_pb2.HttpStatus(code=401), headers=headers, body=body),
    )


def _header(name: str, value: str) -> envoy_pb2.HeaderValueOption:
    """A header that replaces whatever the request has under its name."""
    return envoy_pb2.HeaderValueOption(
        header=envoy_pb2.HeaderValue(key=name, value=value),
        append_action=envoy_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _timestamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(at.astimezone(UTC))
    return timestamp
