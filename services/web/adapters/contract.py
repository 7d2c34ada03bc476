"""The platform's services, asked over the contract in the name of whoever looks at a page."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from forge.accounts.v1.account_service_pb2_grpc import AccountServiceStub
from forge.accounts.v1.session_service_pb2_grpc import SessionServiceStub
from forge.billing.v1.billing_estimate_service_pb2_grpc import BillingEstimateServiceStub
from forge.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from forge.scheduler.v1.probe_service_pb2_grpc import ProbeServiceStub
from forge.scheduler.v1.render_service_pb2_grpc import RenderServiceStub
from forge.scheduler.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from forge.scheduler.v1.upload_service_pb2_grpc import UploadServiceStub
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from services.chassis.clients import channel
from services.chassis.config import ChassisSettings
from services.chassis.errors import ForgeError
from services.chassis.identity import Caller
from services.chassis.status import errors_of
from services.chassis.trust import PLAIN_LOOPBACK, Trust

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Contract:
    """Stubs of the services. `ask` calls one of their methods."""

    catalog: CatalogServiceStub
    billing: BillingEstimateServiceStub
    renders: RenderServiceStub
    runtimes: RuntimeServiceStub
    probes: ProbeServiceStub
    uploads: UploadServiceStub
    accounts: AccountServiceStub
    sessions: SessionServiceStub


@asynccontextmanager
async def contract_at(settings: ChassisSettings, trust: Trust = PLAIN_LOOPBACK) -> AsyncIterator[Contract]:
    """Stubs on open channels to the services that `settings` name."""
    async with AsyncExitStack() as stack:
        catalog, billing, scheduler, accounts = [
            await stack.enter_async_context(channel(address, trust=trust, peer=peer))
            for peer, address in (
                ("catalog", settings.catalog_address),
                ("billing-estimate", settings.billing_estimate_address),
                ("scheduler", settings.scheduler_address),
                ("accounts", settings.accounts_address),
            )
        ]
        yield Contract(
            catalog=CatalogServiceStub(catalog),
            billing=BillingEstimateServiceStub(billing),
            renders=RenderServiceStub(scheduler),
            runtimes=RuntimeServiceStub(scheduler),
            probes=ProbeServiceStub(scheduler),
            uploads=UploadServiceStub(scheduler),
            accounts=AccountServiceStub(accounts),
            sessions=SessionServiceStub(accounts),
        )


async def ask(method: Any, request: Message, caller: Caller) -> dict[str, Any]:
    """What a unary method answers, in the form that REST has: measurements that were not made are absent.

    Raises ForgeError as the service meant it.
    """
    async with errors_of("a service of the platform"):
        answer = await method(request, metadata=caller.to_metadata(), timeout=TIMEOUT_SECONDS)
    return as_json(answer)


async def ask_or_none(method: Any, request: Message, caller: Caller) -> dict[str, Any] | None:
    """As `ask`; None where the contract has no such thing or its service does not answer: the page does without."""
    try:
        return await ask(method, request, caller)
    except ForgeError:
        return None


async def all_of(*asked: Any) -> list[Any]:
    """The answers of calls under way at the same time, in their order. Raises what the first that fails raises."""
    return await asyncio.gather(*asked)


def as_json(message: Message) -> dict[str, Any]:
    """A message in the form that REST has."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
