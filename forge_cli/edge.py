"""Turns the templates in `envoy/` into the configuration that Envoy starts with."""

import copy
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

from forge_cli import certificates
from forge_cli.edge_rules import EdgeRules
from forge_cli.failures import CommandFailed

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = REPOSITORY / "envoy"
DESCRIPTOR_SET = REPOSITORY / "gen" / "forge.binpb"
ADMIN_ADDRESS_FILE = "admin-address"
DRAIN_TOKEN_FILE = "drain-token"  # noqa: S105 — the name of a file

_API = "/v1"
# Routes that pages of other origins need besides those whose path says it.
_JSON_ROUTES = frozenset({"server-sent-events", "everything-else"})
_REFUSALS = frozenset({"compressed", "malformed-grpc-timeout", "body-too-large"})


@dataclass(frozen=True)
class EdgeAddresses:
    """Where the edge listens and what it stands in front of, each "host:port".

    A service may be at several addresses, separated by commas; calls are shared out among those that are healthy.
    """

    listen: str
    catalog: str
    billing_estimate: str
    accounts: str
    scheduler: str
    web: str
    traces: str = ""
    """Where spans are sent; nowhere when empty. Whether it answers makes no difference to what the edge serves."""
    admin: str = "127.0.0.1:0"
    """Envoy's own statistics; loopback only. With port 0 the system chooses, and the file `admin-address` says what."""


def write_edge_config(
    directory: Path,
    addresses: EdgeAddresses,
    *,
    rules: EdgeRules | None = None,
    descriptor_set: Path = DESCRIPTOR_SET,
    tls_dir: Path | None = None,
    otlp_endpoint: str | None = None,
) -> Path:
    """Write `envoy.yaml` into `directory`, made when missing, and return its path.

    The file `drain-token` beside it holds what Envoy's admin interface must be told before it stops taking requests;
    both are for their owner only.

    Without `rules` the edge has those of an installation that was told nothing.
    With `tls_dir`, where `write_certificates` wrote, services are called over mutual TLS; without it in plain text.

    With `addresses.traces` the edge starts and continues traces. So it does with `otlp_endpoint`, an OTLP/gRPC address
    such as "http://127.0.0.1:4317", where there is no span store; without either a client's `traceparent` passes
    through as it is. Raises ValueError for an unusable address.
    """
    drain_token = secrets.token_urlsafe()
    rules = rules or EdgeRules()
    values: dict[str, object] = {
        "descriptor_set": str(descriptor_set.resolve()),
        "drain_token": drain_token,
        "hosts": rules.hosts_pattern,
        "trusted_proxies": rules.trusted_proxies,
        "max_connections": rules.max_connections,
        "max_heap_bytes": rules.memory_mib * 1024 * 1024,
    }
    for name in ("listen", "admin"):
        host, port = _split(getattr(addresses, name))
        values |= {f"{name}_host": host, f"{name}_port": port}
    config = _rendered("edge.yaml", values)
    config["static_resources"]["clusters"] = [
        cluster | _load_assignment(cluster["name"], getattr(addresses, cluster["name"].replace("-", "_")))
        for cluster in _rendered("clusters.yaml", values)["clusters"]
    ]
    if addresses.traces:
        _add_tracing(config, "traces", *_split(addresses.traces))
    if tls_dir:
        _add_tls(config, tls_dir)
    _http(config)["local_reply_config"] = _rendered("errors.yaml", {})
    if rules.cors_origins:
        _add_cors(config, rules)
    if otlp_endpoint and not addresses.traces:
        _add_tracing(config, "otlp", *_collector(otlp_endpoint))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "envoy.yaml"
    _write_private(path, json.dumps(config, indent=1))  # JSON is YAML, without its surprises
    _write_private(directory / DRAIN_TOKEN_FILE, drain_token)
    return path


def edge_config(
    directory: Path, addresses: EdgeAddresses, *, host: str, environment: Mapping[str, str], tls_dir: Path | None
) -> Path:
    """Write what `write_edge_config` does with the rules that the environment asks for. Raises CommandFailed."""
    try:
        return write_edge_config(directory, addresses, rules=EdgeRules.of(environment, host), tls_dir=tls_dir)
    except ValueError as error:
        raise CommandFailed(f"the edge cannot be set up: {error}") from error


def listening_at(host: str, port: int) -> str:
    """An address as `EdgeAddresses` has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


def _load_assignment(cluster: str, addresses: str) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        for host, port in map(_split, addresses.split(","))
    ]
    return {"load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}}


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


def _add_tls(config: dict[str, Any], tls_dir: Path) -> None:
    """Services are shown the edge's certificate, and must show their own."""
    for cluster in config["static_resources"]["clusters"]:
        program = certificates.service(cluster["name"])
        speaks_http2 = "typed_extension_protocol_options" in cluster
        values = {
            "tls_dir": str(tls_dir.resolve()),
            "host_name": program.host_name,
            "spiffe_id": program.spiffe_id,
            "protocol": "h2" if speaks_http2 else "http/1.1",
        }
        cluster |= _rendered("tls.yaml", values)


def _add_cors(config: dict[str, Any], rules: EdgeRules) -> None:
    """Pages of some origins may call the API."""
    cors = _rendered("cors.yaml", {"origins": rules.origins_pattern})
    http = _http(config)
    http["http_filters"].insert(0, cors["filter"])
    host = http["route_config"]["virtual_hosts"][0]
    host["routes"] = [found for route in host["routes"] for found in _open_to_origins(route, cors)]


def _open_to_origins(route: dict[str, Any], cors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A route, after one for pages of other origins where it is one of the API."""
    name = route["name"]
    if name not in _JSON_ROUTES | _REFUSALS and not _pattern(route).startswith(f"{_API}/"):
        return [route]
    theirs: dict[str, Any] = copy.deepcopy(route) | {"name": f"{name}-for-other-origins"}
    theirs["match"].setdefault("headers", []).extend(cors["requests"])
    theirs.setdefault("typed_per_filter_config", {})[cors["filter"]["name"]] = cors["policy"]
    if theirs["match"].get("prefix") == "/":
        theirs["match"]["prefix"] = f"{_API}/"
    if name in _JSON_ROUTES:
        theirs["route"] = cors["cluster"]
        del theirs["direct_response"]
    elif "direct_response" in theirs:
        theirs["response_headers_to_add"] = cors["headers"]
    return [theirs, route]


def _pattern(route: Mapping[str, Any]) -> str:
    match = route["match"]
    return match.get("prefix") or match.get("path") or match.get("safe_regex", {}).get("regex", "")


def _add_tracing(config: dict[str, Any], cluster: str, host: str, port: int) -> None:
    tracing = _rendered("tracing.yaml", {"cluster": cluster, "otlp_host": host, "otlp_port": port})
    _http(config)["tracing"] = tracing["tracing"]
    config["static_resources"]["clusters"] += tracing["clusters"]
    config.setdefault("layered_runtime", {"layers": []})["layers"] += tracing["layered_runtime"]["layers"]


def _collector(otlp_endpoint: str) -> tuple[str, int]:
    url = urlsplit(otlp_endpoint)
    if url.scheme != "http" or not url.hostname:
        raise ValueError(
            f"the edge sends traces without TLS: give the OTLP endpoint as http://host:port, not {otlp_endpoint!r}"
        )
    return url.hostname, url.port or 4317


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no address: write host:port")
    return host.strip("[]"), int(port)
