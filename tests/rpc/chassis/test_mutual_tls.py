"""What services let in: programs with a certificate of this installation, each in its own name."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from forge.accounts.v1 import account_service_pb2, api_key_pb2, session_service_pb2, session_service_pb2_grpc
from forge.accounts.v1 import account_service_pb2_grpc as rpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forge_cli.certificates import EDGE, WORKER, service, write_certificates
from services.chassis.clients import channel_to
from services.chassis.config import ChassisSettings
from services.chassis.identity import Caller, caller, service_caller
from services.chassis.server import Mount, serving
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.trust import Certificates, Trust

A_KEY = Caller("acme", "key_1", frozenset({"read"}))
PROGRAMS = [EDGE, WORKER, service("accounts"), service("web"), service("scheduler")]
Ask = Callable[..., Any]


class _Accounts(rpc.AccountServiceServicer):
    async def GetAccount(self, request, context):  # noqa: N802 — the contract's spelling
        return api_key_pb2.Account(account=caller().account)


class _Sessions(session_service_pb2_grpc.SessionServiceServicer):
    async def EndSession(self, request, context):  # noqa: N802 — the contract's spelling
        return session_service_pb2.EndSessionResponse()


def mounts() -> list[Mount]:
    return [
        Mount(
            account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
            rpc.add_AccountServiceServicer_to_server,
            _Accounts(),  # pyright: ignore[reportAbstractUsage] — what it does not implement nobody calls here
        ),
        Mount(
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
            session_service_pb2_grpc.add_SessionServiceServicer_to_server,
            _Sessions(),  # pyright: ignore[reportAbstractUsage] — as above
        ),
    ]


@pytest.fixture
def tls_dir(tmp_path: Path) -> Path:
    write_certificates(tmp_path / "tls", PROGRAMS)
    return tmp_path / "tls"


@pytest.fixture
async def port(tls_dir: Path) -> AsyncIterator[int]:
    """The accounts service, as far as it matters here."""
    async with serving("127.0.0.1:0", mounts(), grace_seconds=0, trust=trust(tls_dir, "accounts")) as port:
        yield port


def trust(folder: Path, name: str) -> Trust:
    return Trust(Certificates.in_folder(folder, name))


@asynccontextmanager
async def calling(port: int, as_caller: Caller, shown: Trust, *, peer: str = "accounts") -> AsyncIterator[aio.Channel]:
    async with channel_to(f"127.0.0.1:{port}", as_caller, trust=shown, peer=peer) as channel:
        yield channel


async def account_of(channel: aio.Channel) -> str:
    stub: Any = rpc.AccountServiceStub(channel)
    return (await stub.GetAccount(account_service_pb2.GetAccountRequest(), timeout=10)).account


async def end_session(channel: aio.Channel) -> None:
    stub: Any = session_service_pb2_grpc.SessionServiceStub(channel)
    await stub.EndSession(session_service_pb2.EndSessionRequest(session_id="x"), timeout=10)


@pytest.mark.parametrize("program", ["edge", "web"])
async def test_the_edge_and_services_are_believed_whose_key_is_behind_a_call(port, tls_dir, program):
    async with calling(port, A_KEY, trust(tls_dir, program)) as channel:
        assert await account_of(channel) == "acme"


async def test_a_service_may_speak_for_itself(port, tls_dir):
    async with calling(port, service_caller("web"), trust(tls_dir, "web")) as channel:
        await end_session(channel)


@pytest.mark.parametrize("program", ["edge", "scheduler", "inference-worker"])
async def test_nobody_may_speak_for_another_service(port, tls_dir, program):
    async with calling(port, service_caller("web"), trust(tls_dir, program)) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await end_session(channel)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("program", ["edge", "scheduler"])
async def test_no_key_has_the_rights_of_a_service(port, tls_dir, program):
    forged = Caller("acme", "key_1", frozenset({"service", "admin"}))
    async with calling(port, forged, trust(tls_dir, program)) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await end_session(channel)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_worker_is_believed_nothing_of_a_key(port, tls_dir):
    async with calling(port, A_KEY, trust(tls_dir, "inference-worker")) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await account_of(channel)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_stranger_without_a_certificate_is_not_heard(port, tls_dir):
    authority = (tls_dir / "ca.pem").read_bytes()
    named = [("grpc.ssl_target_name_override", "accounts.forge.internal")]
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{port}")),
            await stack.enter_async_context(
                aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(authority), options=named)
            ),
        ]
        for channel in channels:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_installation_opens_nothing(port, tls_dir, tmp_path):
    write_certificates(tmp_path / "elsewhere", PROGRAMS)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "ca.pem").write_bytes((tls_dir / "ca.pem").read_bytes())  # it knows us, we do not know it
    async with calling(port, A_KEY, trust(elsewhere, "edge")) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await account_of(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_program_at_the_address_of_another_is_told_nothing(port, tls_dir):
    async with calling(port, A_KEY, trust(tls_dir, "edge"), peer="scheduler") as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await account_of(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_programs_know_each_other_across_a_new_start(port, tls_dir):
    before = trust(tls_dir, "edge")
    write_certificates(tls_dir, PROGRAMS)
    for shown in (before, trust(tls_dir, "edge")):
        async with calling(port, A_KEY, shown) as channel:
            assert await account_of(channel) == "acme"


def settings(monkeypatch: pytest.MonkeyPatch, **environment: str) -> ChassisSettings:
    for name in ("FORGE_TLS_DIR", "FORGE_PLAINTEXT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return ChassisSettings()


def test_without_certificates_nothing_starts_unless_plain_text_is_asked_for(monkeypatch, tls_dir):
    with pytest.raises(ConfigurationInvalid, match="FORGE_TLS_DIR"):
        Trust.of("accounts", settings(monkeypatch))
    assert Trust.of("accounts", settings(monkeypatch, FORGE_PLAINTEXT="true")) == Trust()
    assert Trust.of("accounts", settings(monkeypatch, FORGE_TLS_DIR=str(tls_dir))) == trust(tls_dir, "accounts")


def test_a_missing_certificate_is_named(monkeypatch, tls_dir):
    (tls_dir / "accounts.key").unlink()
    with pytest.raises(ConfigurationInvalid, match=r"accounts\.key"):
        Trust.of("accounts", settings(monkeypatch, FORGE_TLS_DIR=str(tls_dir)))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:7101", "catalog:7101", "[fe80::1]:1"])
async def test_plain_text_stays_on_loopback(address):
    with pytest.raises(ConfigurationInvalid, match="loopback"):
        async with serving(address, [], grace_seconds=0):
            pass
    with pytest.raises(ConfigurationInvalid, match="loopback"):
        async with channel_to(address, A_KEY):
            pass
