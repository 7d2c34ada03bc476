"""How services prove to each other who they are: mutual TLS with names in the style of SPIFFE, or plain loopback."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from services.chassis.config import ChassisSettings
from services.chassis.strict_yaml import ConfigurationInvalid

TRUST_DOMAIN = "forge"
EDGE = f"spiffe://{TRUST_DOMAIN}/edge"
_SERVICE = f"spiffe://{TRUST_DOMAIN}/service/"
_SHARED_OUT = ("grpc.lb_policy_name", "round_robin")
UNPROVEN = ""
"""Name of a peer that did not have to prove any: plain loopback."""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: the authority that siblings are known by, and what this process shows them."""

    authority: Path
    chain: Path
    key: Path

    @classmethod
    def in_folder(cls, folder: Path, name: str) -> Certificates:
        """Those of the program `name`. Raises ConfigurationInvalid when one is missing."""
        found = cls(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
        missing = [str(file) for file in (found.authority, found.chain, found.key) if not file.is_file()]
        if missing:
            raise ConfigurationInvalid([f"FORGE_TLS_DIR: there is no {file}" for file in missing])
        return found


@dataclass(frozen=True)
class Trust:
    """What a process listens and calls with. Without certificates it does both in plain text, on loopback only."""

    certificates: Certificates | None = None

    @classmethod
    def of(cls, name: str, settings: ChassisSettings) -> Trust:
        """What the settings say for the program `name`. Raises ConfigurationInvalid when they say nothing."""
        if settings.tls_dir is not None:
            return cls(Certificates.in_folder(settings.tls_dir, name))
        if settings.plaintext:
            return cls()
        raise ConfigurationInvalid(
            [
                "FORGE_TLS_DIR: services call each other with certificates from this folder; `forge up` makes them. "
                "For plain text on loopback alone set FORGE_PLAINTEXT=true"
            ]
        )

    def listen(self, server: aio.Server, address: str) -> int:
        """Have `server` listen on "host:port"; the port it got. Only siblings with a certificate are let in."""
        if self.certificates is None:
            return server.add_insecure_port(_on_loopback(address))
        return server.add_secure_port(address, self._server_credentials)

    def channel(
        self, address: str, peer: str, *, options: Sequence[tuple[str, Any]], interceptors: Sequence[Any]
    ) -> aio.Channel:
        """A channel to the program `peer` at "host:port"; another one there is not spoken to.

        Several addresses are separated by commas: calls are shared out among those that answer.
        """
        if "," in address:
            options = [*options, _SHARED_OUT]
        if self.certificates is None:
            return aio.insecure_channel(_target(_on_loopback(address)), options=options, interceptors=interceptors)
        return aio.secure_channel(
            _target(address), self._channel_credentials, options=_naming(peer, options), interceptors=interceptors
        )

    def blocking_channel(self, address: str, peer: str, *, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """The same for threads without an event loop."""
        if self.certificates is None:
            return grpc.insecure_channel(_on_loopback(address), options=options)
        return grpc.secure_channel(address, self._channel_credentials, options=_naming(peer, options))

    @cached_property
    def _server_credentials(self) -> grpc.ServerCredentials:
        authority, chain, key = self._read()
        return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=True)

    @cached_property
    def _channel_credentials(self) -> grpc.ChannelCredentials:
        authority, chain, key = self._read()
        return grpc.ssl_channel_credentials(authority, key, chain)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        files = self.certificates
        assert files is not None  # noqa: S101 — plain text never comes here
        return files.authority.read_bytes(), files.chain.read_bytes(), files.key.read_bytes()


PLAIN_LOOPBACK = Trust()


def host_name(program: str) -> str:
    """The DNS name in a program's certificate: TLS libraries compare those, wherever the program really is."""
    return f"{program}.forge.internal"


def peer_of(context: Mapping[str, Iterable[bytes]]) -> str:
    """The name that a caller's certificate proves, from gRPC's authentication context; UNPROVEN in plain text."""
    for name in context.get("peer_spiffe_id", ()):
        return name.decode()
    return UNPROVEN


def speaks_for_keys(peer: str) -> bool:
    """Whether what `peer` says of the key behind a call is believed: the edge has checked it, services pass it on."""
    return peer in (UNPROVEN, EDGE) or peer.startswith(_SERVICE)


def is_service(peer: str, name: str) -> bool:
    """Whether `peer` may speak as the service `name` itself."""
    return peer in (UNPROVEN, _SERVICE + name)


def _naming(peer: str, options: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The options of a channel on which only `peer` is spoken to."""
    return [*options, ("grpc.ssl_target_name_override", host_name(peer))]


def _target(address: str) -> str:
    """What gRPC calls an address, or several of them."""
    if "," not in address:
        return address
    hosts = {found.rpartition(":")[0] for found in address.split(",")}
    return f"{'ipv6' if any(':' in host for host in hosts) else 'ipv4'}:{address}"


def _on_loopback(addresses: str) -> str:
    for address in addresses.split(","):
        _check_loopback(address)
    return addresses


def _check_loopback(address: str) -> None:
    host = address.rpartition(":")[0].strip("[]")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationInvalid(
            [f"{address}: plain text is for loopback addresses alone; set FORGE_TLS_DIR to reach others"]
        )
