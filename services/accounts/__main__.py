"""Starts the accounts service, or makes its first key."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from envoy_ext_authz.v3 import external_auth_pb2 as envoy_pb2
from envoy_ext_authz.v3 import external_auth_pb2_grpc as envoy_rpc
from forge.accounts.v1 import account_service_pb2, session_service_pb2, session_service_pb2_grpc
from forge.accounts.v1 import account_service_pb2_grpc as rpc

from services.accounts.adapters.hmac_hasher import HmacHasher
from services.accounts.adapters.remembering_key_store import RememberingKeyStore
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.config import Settings
from services.accounts.servicer import AccountServicer, AuthorizationServicer, SessionServicer
from services.accounts.usecases import Guard, Keys, Sessions, UseLog
from services.chassis.clock import SystemClock
from services.chassis.process import run
from services.chassis.secret_files import SecretFile
from services.chassis.server import Mount, serving
from services.chassis.storage import sqlite_database

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"
USAGE = "usage: python -m services.accounts [first-key]"


def mounts(keys: Keys, sessions: Sessions, guard: Guard) -> list[Mount]:
    """The servicers of this service."""
    return [
        Mount(
            account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
            rpc.add_AccountServiceServicer_to_server,
            AccountServicer(keys),
        ),
        Mount(
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
            session_service_pb2_grpc.add_SessionServiceServicer_to_server,
            SessionServicer(sessions),
        ),
        Mount(
            envoy_pb2.DESCRIPTOR.services_by_name["Authorization"],
            envoy_rpc.add_AuthorizationServicer_to_server,
            AuthorizationServicer(guard),
        ),
    ]


async def serve(settings: Settings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(sqlite_database(settings.database_path, MIGRATIONS))
        store = RememberingKeyStore(SqlKeyStore(database), clock)
        hasher = HmacHasher.with_pepper_in(SecretFile(settings.pepper_path))
        uses = await stack.enter_async_context(UseLog(store, clock).kept_written())
        keys = Keys(store, hasher, clock, environment=settings.environment)
        guard = Guard(store, store, hasher, uses, clock)
        sessions = Sessions(store, guard, hasher, clock)
        served = mounts(keys, sessions, guard)
        await stack.enter_async_context(
            serving(settings.accounts_address, served, grace_seconds=settings.shutdown_grace_seconds)
        )
        await told_to_stop.wait()


async def make_first_key(settings: Settings, _told_to_stop: asyncio.Event) -> None:
    """Make the first key unless one works; leave its secret in a file and print it, this once."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(sqlite_database(settings.database_path, MIGRATIONS))
        hasher = HmacHasher.with_pepper_in(SecretFile(settings.pepper_path))
        keys = Keys(SqlKeyStore(database), hasher, SystemClock(), environment=settings.environment)
        if secret := await keys.make_first(SecretFile(settings.first_key_path)):
            print(secret)


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    settings = Settings()
    match arguments:
        case []:
            run("accounts", settings, lambda told_to_stop: serve(settings, told_to_stop))
        case ["first-key"]:
            run("accounts", settings, lambda told_to_stop: make_first_key(settings, told_to_stop))
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
