"""Turns the templates in `envoy/` into the configuration that Envoy starts with."""

import json
import os
import secrets
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = REPOSITORY / "envoy"
DESCRIPTOR_SET = REPOSITORY / "gen" / "forge.binpb"
ADMIN_ADDRESS_FILE = "admin-address"
DRAIN_TOKEN_FILE = "drain-token"  # noqa: S105 — the name of a file


@dataclass(frozen=True)
class EdgeAddresses:
    """Where the edge listens and what it stands in front of, each "host:port"."""

    listen: str
    catalog: str
    billing_estimate: str
    accounts: str
    scheduler: str
    web: str
    admin: str = "127.0.0.1:0"
    """Envoy's own statistics; loopback only. With port 0 the system chooses, and the file `admin-address` says what."""


def write_edge_config(
    directory: Path,
    addresses: EdgeAddresses,
    *,
    descriptor_set: Path = DESCRIPTOR_SET,
    otlp_endpoint: str | None = None,
) -> Path:
    """Write `envoy.yaml` into `directory`, made when missing, and return its path.

    The file `drain-token` beside it holds what Envoy's admin interface must be told before it stops taking requests;
    both are for their owner only.

    `otlp_endpoint` is an OTLP/gRPC address such as "http://127.0.0.1:4317": with it the edge starts and continues
    traces, without it a client's `traceparent` passes through as it is. Raises ValueError for an unusable address.
    """
    drain_token = secrets.token_urlsafe()
    values: dict[str, object] = {"descriptor_set": str(descriptor_set.resolve()), "drain_token": drain_token}
    for name in ("listen", "catalog", "billing_estimate", "accounts", "scheduler", "web", "admin"):
        host, port = _split(getattr(addresses, name))
        values |= {f"{name}_host": host, f"{name}_port": port}
    config = _rendered("edge.yaml", values)
    config["static_resources"]["clusters"] = _rendered("clusters.yaml", values)["clusters"]
    _http(config)["local_reply_config"] = _rendered("errors.yaml", {})
    if otlp_endpoint:
        _add_tracing(config, otlp_endpoint)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "envoy.yaml"
    _write_private(path, json.dumps(config, indent=1))  # JSON is YAML, without its surprises
    _write_private(directory / DRAIN_TOKEN_FILE, drain_token)
    return path


def envoy_command(config: Path, *, concurrency: int = 1) -> list[str]:
    """The command line that runs the edge in the foreground; it ends at once on SIGTERM.

    The process writes the address of its statistics to `admin-address` beside `config`.
    """
    return [
        str(Path(sysconfig.get_path("scripts")) / "envoy"),
        *("--config-path", str(config)),
        *("--admin-address-path", str(config.with_name(ADMIN_ADDRESS_FILE))),
        *("--concurrency", str(concurrency)),
        *("--log-level", "warning"),
        *("--file-flush-interval-msec", "1000"),
        "--disable-hot-restart",  # its shared memory would keep a second edge on this machine from starting
    ]


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)  # also one that was there before
        file.write(text)


def _rendered(name: str, values: Mapping[str, object]) -> dict[str, Any]:
    return _filled_in(yaml.safe_load((TEMPLATES / name).read_text(encoding="utf-8")), values)


def _filled_in(node: Any, values: Mapping[str, object]) -> Any:
    """The parsed template with its placeholders replaced; after parsing, so that no value can change the structure."""
    match node:
        case dict():
            return {key: _filled_in(child, values) for key, child in node.items()}
        case list():
            return [_filled_in(child, values) for child in node]
        case str():
            return Template(node).substitute(values)
        case _:
            return node


def _http(config: dict[str, Any]) -> dict[str, Any]:
    """The part of the configuration that says how HTTP is treated."""
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def _add_tracing(config: dict[str, Any], otlp_endpoint: str) -> None:
    url = urlsplit(otlp_endpoint)
    if url.scheme != "http" or not url.hostname:
        raise ValueError(
            f"the edge sends traces without TLS: give the OTLP endpoint as http://host:port, not {otlp_endpoint!r}"
        )
    values = {"otlp_host": url.hostname, "otlp_port": url.port or 4317}
    tracing = _rendered("tracing.yaml", values)
    _http(config)["tracing"] = tracing["tracing"]
    config["static_resources"]["clusters"] += tracing["clusters"]


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no address: write host:port")
    return host.strip("[]"), int(port)
