"""Where requests to strangers may go: rules for URLs, and for the addresses their hosts lead to."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

MAX_URL_LENGTH = 2048

Address = IPv4Address | IPv6Address

_DEFAULT_PORTS = {"https": 443, "http": 80}
_PLAIN = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # ASCII without blanks, control characters and backslashes
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
# No top-level domain begins with a digit, but the old spellings of IPv4 addresses do: "2130706433", "0x7f.1".
_NAME = re.compile(rf"({_LABEL}\.)*(?=[a-z]){_LABEL}")
_LOCALHOST = re.compile(r"(.+\.)?localhost")

_PRIVATE = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))
)
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
# Not private to the letter, but none of them is somebody's server on the internet.
_NOBODYS = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # the host below a virtual machine, on one cloud
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays
            "2001::/23",  # protocol assignments, tunnels through Teredo among them
            "2002::/16",  # 6to4, which hides an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)


class UrlRefused(Exception):
    """Nothing is asked of a URL. The text goes on after "the URL"."""


@dataclass(frozen=True)
class Endpoint:
    """A URL taken apart. `host` is a lower-case name or an address without brackets, `target` a path and a query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port, as the `Host` header names them."""
        host = _bracketed(self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def endpoint_of(url: str, *, to_private: bool) -> Endpoint:
    """Take a URL apart, if its form allows requests. Raises UrlRefused.

    `to_private` is whether the installation goes to loopback and private addresses. What a name leads to is not known
    here: that is for `may_reach` to judge, at each request.
    """
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"must have at most {MAX_URL_LENGTH} characters")
    if not _PLAIN.fullmatch(url):
        raise UrlRefused("must be plain ASCII without blanks: write other hosts in punycode and encode the rest with %")
    parts, port = _split(url)
    if parts.scheme != "https" and not (to_private and parts.scheme == "http"):
        raise UrlRefused(f"must begin with https://{' or http://' if to_private else ''}")
    if "@" in parts.netloc:
        raise UrlRefused("must not hold credentials")
    if "#" in url:
        raise UrlRefused("must not have a fragment: leave out '#' and what follows")
    host = parts.hostname or ""
    address = _literal(host)
    is_host = address is not None or (_NAME.fullmatch(host) and len(host) <= 253)
    if not is_host or not re.fullmatch(rf"{re.escape(_bracketed(host))}(:\d*)?", parts.netloc.lower()):
        raise UrlRefused("must name a host, for example https://www.example.com/path")
    if port == 0:
        raise UrlRefused("must not have port 0: leave the port out, or name one from 1 to 65535")
    if (_LOCALHOST.fullmatch(host) and not to_private) or (
        address is not None and not may_reach(address, parts.scheme, to_private=to_private)
    ):
        raise UrlRefused(f"must lead to {permitted(parts.scheme, to_private=to_private)}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port, target)


def may_reach(address: Address, scheme: str, *, to_private: bool) -> bool:
    """Whether a request may go to an address: over https to public ones, to private ones where that is allowed."""
    if is_public(address):
        return scheme == "https"
    return to_private and any(address in network for network in _PRIVATE)


def permitted(scheme: str, *, to_private: bool) -> str:
    """In words, where `may_reach` lets a request go."""
    kinds = ["a public"] * (scheme == "https") + ["a loopback or private"] * to_private
    return f"{' or '.join(kinds)} address"


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's, whatever it is wrapped in."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:  # so are those that stand for IPv4 addresses, link-local ones, multicast
            return False
    elif address.is_multicast:
        return False
    return address.is_global and not any(address in network for network in _NOBODYS)


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise UrlRefused("is malformed: its host or port cannot be read") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _literal(host: str) -> Address | None:
    try:
        return None if "%" in host else ip_address(host)  # a zone means something on one machine only
    except ValueError:
        return None
