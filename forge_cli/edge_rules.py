"""Whom the edge serves and how much it holds: what an installation may decide, from the environment."""

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_EVERYBODY = "*"
_LOCAL_NAMES = ("localhost", "*.localhost")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 — compared with, not bound to
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# A browser takes these for addresses and never asks anybody where they lead, so no stranger's name can be one of them.
_ADDRESSES = r"[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\]"


@dataclass(frozen=True)
class EdgeRules:
    """What an installation may decide about its edge."""

    hosts: tuple[str, ...] = _LOCAL_NAMES
    """Names it goes by, "*.example.org" for all below one, "*" for any. Addresses are always served."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API with a key, each "https://host" or with a port."""
    trusted_proxies: int = 0
    """How many proxies stand before the edge; only what they say in x-forwarded-for is believed."""
    max_connections: int = 4000
    memory_mib: int = 1024
    """How much the edge may hold before it turns requests away."""

    @classmethod
    def of(cls, environment: Mapping[str, str], host: str) -> "EdgeRules":
        """What the environment says for an edge that listens on `host`. Raises ValueError naming the variable."""
        hosts = _listed(environment.get("FORGE_ALLOWED_HOSTS", ""))
        return cls(
            hosts=tuple(_host(name) for name in hosts) or names_of(host),
            cors_origins=tuple(_origin(name) for name in _listed(environment.get("FORGE_CORS_ORIGINS", ""))),
            trusted_proxies=_number(environment, "FORGE_TRUSTED_PROXIES", cls.trusted_proxies, 0, 10),
            max_connections=_number(environment, "FORGE_MAX_CONNECTIONS", cls.max_connections, 10, 1_000_000),
            memory_mib=_number(environment, "FORGE_EDGE_MEMORY_MIB", cls.memory_mib, 128, 1_000_000),
        )

    @property
    def hosts_pattern(self) -> str:
        """A regular expression for a `Host` that is served."""
        if _EVERYBODY in self.hosts:
            return ".*"
        names = (re.escape(name).replace(r"\*", "[a-z0-9_.-]+") for name in self.hosts)
        return rf"(?i)({'|'.join([*names, _ADDRESSES])})\.?(:[0-9]{{1,5}})?"

    @property
    def origins_pattern(self) -> str:
        """A regular expression for an `Origin` whose pages may call the API."""
        return "|".join(map(re.escape, self.cors_origins))


def names_of(host: str) -> tuple[str, ...]:
    """The names that an edge listening on `host` goes by unless it is told: this machine's where it serves others."""
    if host in _WILDCARDS:
        machine = socket.gethostname().lower().partition(".")[0]
        return (*_LOCAL_NAMES, *(name for name in (machine, f"{machine}.local") if _NAME.fullmatch(name)))
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return (*_LOCAL_NAMES, host.lower())
    return _LOCAL_NAMES


def _listed(text: str) -> Iterable[str]:
    return dict.fromkeys(name for part in text.split(",") if (name := part.strip().lower()))


def _host(name: str) -> str:
    if name != _EVERYBODY and not _NAME.fullmatch(name):
        raise ValueError(
            f"FORGE_ALLOWED_HOSTS: {name!r} is no name; write names without scheme and port, as forge.example.org, "
            "*.example.org for all below it, or * for any"
        )
    return name


def _origin(text: str) -> str:
    """An origin as browsers send it. No pattern: whoever is named here can do what a visitor's key can."""
    try:
        parts = urlsplit(text)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        is_origin = bool(default and parts.hostname and parts.port not in (0, default) and "*" not in parts.netloc)
        is_origin = is_origin and text == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        is_origin = False
    if not is_origin:
        raise ValueError(f"FORGE_CORS_ORIGINS: {text!r} is no origin; write each as https://HOST or https://HOST:PORT")
    return text


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError(f"{name}: must be a whole number from {least} to {most}, not {text!r}")
    return int(text)
