"""The gRPC edge of accounts: unpack, ask, pack."""

from envoy_ext_authz.v3 import external_auth_pb2_grpc as envoy_rpc
from forge.accounts.v1 import account_service_pb2_grpc as rpc
from forge.accounts.v1 import session_service_pb2_grpc

from services.accounts import convert
from services.accounts.usecases.guard import Guard
from services.accounts.usecases.keys import Keys
from services.accounts.usecases.sessions import Sessions
from services.chassis.identity import caller


class AccountServicer(rpc.AccountServiceServicer):
    """API keys of the caller's account."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def GetAccount(self, request, context):
        return convert.account_to_proto(caller())

    async def CreateApiKey(self, request, context):
        ttl, limit = convert.ttl_from_proto(request), convert.rate_limit_from_proto(request)
        return convert.created_to_proto(await self._keys.create(caller(), request.name, request.scopes, ttl, limit))

    async def RotateApiKey(self, request, context):
        overlap = convert.overlap_from_proto(request)
        return convert.rotated_to_proto(await self._keys.rotate(caller(), request.id, overlap))

    async def ListApiKeys(self, request, context):
        return convert.keys_to_proto(await self._keys.list(caller()))

    async def RevokeApiKey(self, request, context):
        return convert.key_to_proto(await self._keys.revoke(caller(), request.id))


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """Sessions of the console."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def CreateSession(self, request, context):
        return convert.begun_to_proto(await self._sessions.begin(request.secret))

    async def EndSession(self, request, context):
        await self._sessions.end(request.session_id)
        return convert.ended_to_proto()


class AuthorizationServicer(envoy_rpc.AuthorizationServicer):
    """Envoy's question about every request."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def Check(self, request, context):
        return convert.verdict_to_proto(await self._guard.judge(convert.knock_of(request)), request)
