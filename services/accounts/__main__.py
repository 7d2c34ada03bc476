"""Starts the accounts service, or does what only the operator of its machine may: makes first keys, lists accounts."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from envoy_ext_authz.v3 import external_auth_pb2 as envoy_pb2
from envoy_ext_authz.v3 import external_auth_pb2_grpc as envoy_rpc
from forge.accounts.v1 import account_service_pb2, session_service_pb2, session_service_pb2_grpc
from forge.accounts.v1 import account_service_pb2_grpc as rpc

from services.accounts.adapters.hmac_hasher import HmacHasher
from services.accounts.adapters.remembering_key_store import RememberingKeyStore
from services.accounts.adapters.sql_audit import SqlAuditStore
from services.accounts.adapters.sql_key_store import SqlKeyStore
from services.accounts.audit_servicer import audit_mounts
from services.accounts.config import Settings
from services.accounts.servicer import AccountServicer, AuthorizationServicer, SessionServicer
from services.accounts.usecases.audit import AuditBook
from services.accounts.usecases.guard import Guard
from services.accounts.usecases.keys import Keys
from services.accounts.usecases.rate_limits import RateLimits
from services.accounts.usecases.sessions import Sessions
from services.accounts.usecases.use_log import UseLog
from services.chassis.audit.outbox import MIGRATIONS as AUDIT_MIGRATIONS
from services.chassis.audit.shipping import audit_trail
from services.chassis.clock import SystemClock
from services.chassis.errors import InvalidInput
from services.chassis.process import run, settings_of
from services.chassis.secret_files import SecretFile
from services.chassis.server import Mount, serving
from services.chassis.storage import database_of
from services.chassis.tasks import in_background
from services.chassis.trust import Trust

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"
USAGE = """usage: python -m services.accounts [COMMAND]
  first-key                            make the default account's first key unless one of its keys works
  make-account NAME [--another-key]    make an account, or one more admin key of it
  list-accounts                        list accounts as JSON"""


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
        database = await stack.enter_async_context(database_of(settings, settings.database_path, MIGRATIONS))
        store = RememberingKeyStore(SqlKeyStore(database), clock)
        hasher = HmacHasher.with_pepper_in(SecretFile(settings.pepper_path))
        uses = await stack.enter_async_context(UseLog(store, clock).kept_written())
        keys = Keys(store, hasher, clock, environment=settings.environment)
        token = settings.endpoint_token.get_secret_value() if settings.endpoint_token else None
        if token is not None:
            await keys.take_token(token)
        guard = Guard(store, store, hasher, uses, RateLimits(settings.rate_limit, clock), clock, token=token)
        sessions = Sessions(store, guard, hasher, clock)
        book = AuditBook(SqlAuditStore(database), clock, keep=timedelta(days=settings.audit_days))
        await stack.enter_async_context(in_background(book.forget_what_is_old(), on_failure=told_to_stop.set))
        trail = await stack.enter_async_context(
            audit_trail(
                database_of(settings, settings.audit_outbox_path, AUDIT_MIGRATIONS),
                book,
                clock,
                on_failure=told_to_stop.set,
            )
        )
        served = [*mounts(keys, sessions, guard), *audit_mounts(book)]
        await stack.enter_async_context(
            serving(
                settings.accounts_address,
                served,
                grace_seconds=settings.shutdown_grace_seconds,
                trust=Trust.of("accounts", settings),
                audit=trail,
            )
        )
        await told_to_stop.wait()


@asynccontextmanager
async def keys_beside_the_service(settings: Settings) -> AsyncIterator[Keys]:
    """The keys of the installation, whether or not the service runs."""
    async with database_of(settings, settings.database_path, MIGRATIONS) as database:
        hasher = HmacHasher.with_pepper_in(SecretFile(settings.pepper_path))
        yield Keys(SqlKeyStore(database), hasher, SystemClock(), environment=settings.environment)


async def make_first_key(settings: Settings) -> None:
    """Make the first key unless one works; leave its secret in a file and print it, this once."""
    async with keys_beside_the_service(settings) as keys:
        if secret := await keys.make_first(SecretFile(settings.first_key_path)):
            print(secret)


async def make_account(settings: Settings, name: str, *, another_key: bool) -> None:
    """Make an admin key of an account and print its secret, this once."""
    async with keys_beside_the_service(settings) as keys:
        try:
            secret = await keys.open_account(name, another_key=another_key)
        except InvalidInput as error:
            sys.exit(error.message)
    if secret is None:
        sys.exit(f"the account '{name}' has a key that works; for one more add --another-key")
    print(secret)


async def list_accounts(settings: Settings) -> None:
    """Print the accounts as JSON."""
    async with keys_beside_the_service(settings) as keys:
        accounts = [asdict(account) for account in await keys.accounts()]
    print(json.dumps({"accounts": accounts}, default=lambda moment: moment.isoformat().replace("+00:00", "Z")))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    settings = settings_of(Settings)
    match arguments:
        case []:
            run("accounts", settings, lambda told_to_stop: serve(settings, told_to_stop))
        case ["first-key"]:
            run("accounts", settings, lambda _: make_first_key(settings))
        case ["make-account", name, *flags] if flags in ([], ["--another-key"]):
            run("accounts", settings, lambda _: make_account(settings, name, another_key=bool(flags)))
        case ["list-accounts"]:
            run("accounts", settings, lambda _: list_accounts(settings))
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
