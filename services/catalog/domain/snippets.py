"""Text to copy: which kinds there are, and what it is written for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.catalog.domain.routes import Pin
from services.chassis.errors import Violation
from services.chassis.known import did_you_mean

BASE_URL_PLACEHOLDER = "https://YOUR_FORGE_HOST"
KEY_PLACEHOLDER = "replace-with-your-forge-api-key"
"""Snippets refuse to run with a key that begins like this one."""

_LONGEST_ENDPOINT_NAME = 63
_BASE_URL = re.compile(
    r"https?://(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~%/-]*)?"
)


@dataclass(frozen=True)
class SnippetKind:
    """One kind of text, whatever the selection."""

    name: str
    title: str
    description: str
    language: str
    filename: str


@dataclass(frozen=True)
class Selection:
    """What a text is written for."""

    slug: str
    model_version: str
    pin: Pin
    base_url: str
    """Without /v1 and without a slash at its end."""
    example: Mapping[str, Any]
    """The version's example request body."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The example, pinned as the selection is."""
        pin = {"gpu_type": self.pin.gpu_type, "region": self.pin.region}
        return {**self.example, **{field: value for field, value in pin.items() if value is not None}}

    @property
    def endpoint_name(self) -> str:
        """A name for a deployment: lower-case letters, digits and hyphens."""
        name = re.sub(r"[^a-z0-9]+", "-", f"{self.slug}-{self.model_version}".lower())
        return name[:_LONGEST_ENDPOINT_NAME].strip("-")


@dataclass(frozen=True)
class Snippet:
    """One text."""

    kind: SnippetKind
    text: str


@dataclass(frozen=True)
class Snippets:
    """The texts for a selection."""

    selection: Selection
    snippets: tuple[Snippet, ...]


_TARGET = "FORGE_GPU_TYPE and FORGE_REGION in the environment take the place of the pin."
_BODY = "FORGE_REQUEST_BODY_FILE names a JSON file to send instead of the example."
_OUTLASTS = "One that outlasts FORGE_REQUEST_TIMEOUT_SECONDS (600) goes on, and its events are named."

KINDS = (
    SnippetKind(
        "env",
        "Project .env",
        "The selection as settings of a project; put your own key in.",
        "dotenv",
        ".env",
    ),
    SnippetKind(
        "gitignore",
        "Project .gitignore",
        "Keeps .env files with their keys out of commits, and a .env.example in.",
        "gitignore",
        ".gitignore",
    ),
    SnippetKind(
        "setup",
        "Setup of a shell",
        "The selection as exports; a key that is set already stays.",
        "shell",
        "forge-setup.sh",
    ),
    SnippetKind(
        "check",
        "One-block API check",
        f"Checks key, version and target, and says what is free there (curl, python3). {_TARGET}",
        "shell",
        "forge-check.sh",
    ),
    SnippetKind(
        "reliability",
        "Verified targets",
        "Says on how many targets the version is verified and prints the fastest and the cheapest as exports; without "
        f"any it ends with 1 (curl, python3). {_TARGET}",
        "shell",
        "forge-reliability.sh",
    ),
    SnippetKind(
        "estimate",
        "What a request takes and costs",
        f"Time and cost of the example request, warm and with a cold start (curl, python3). {_TARGET} {_BODY}",
        "shell",
        "forge-estimate.sh",
    ),
    SnippetKind(
        "warm_up",
        "Warm up",
        "Starts the version and waits until it is warm; with FORGE_KEEP_WARM=true it stays so until it is stopped "
        f"(curl, python3). {_TARGET}",
        "shell",
        "forge-warm-up.sh",
    ),
    SnippetKind(
        "status",
        "Runtime status",
        "Says whether the version is cold, starting or warm, and where (curl, python3).",
        "shell",
        "forge-status.sh",
    ),
    SnippetKind(
        "curl",
        "curl",
        f"Renders, waits, and prints the render; downloads nothing (curl, python3). {_OUTLASTS} {_BODY}",
        "shell",
        "forge-render.sh",
    ),
    SnippetKind(
        "python",
        "Python",
        f"Renders, waits, and saves the video (Python 3.9, httpx). {_OUTLASTS} {_TARGET} {_BODY}",
        "python",
        "forge_render.py",
    ),
    SnippetKind(
        "python_grpc",
        "Python, gRPC",
        "Renders over gRPC on the same port, shows progress, and saves the video (Python 3.9, grpcio, Forge's "
        f"generated stubs: PYTHONPATH=gen in a clone). {_OUTLASTS} {_TARGET} {_BODY}",
        "python",
        "forge_render_grpc.py",
    ),
    SnippetKind(
        "javascript",
        "JavaScript",
        "Creates a render, looks at it every second, and saves the video (Node 18, or a browser on the installation's "
        f"own origin with the settings as properties of globalThis). {_OUTLASTS} {_TARGET} {_BODY}",
        "javascript",
        "forge-render.js",
    ),
    SnippetKind(
        "grpc",
        "grpcurl",
        f"Shows the service by reflection, creates a render and watches it to its end (grpcurl, python3). {_BODY}",
        "shell",
        "forge-grpc.sh",
    ),
    SnippetKind(
        "docker",
        "A host with Docker",
        "Runs a Forge host on a machine with NVIDIA GPUs; it offers the GPUs it has, whatever is pinned. No image of "
        "Forge is published: set FORGE_IMAGE to one you have built with deploy/docker/Dockerfile.",
        "shell",
        "forge-docker.sh",
    ),
    SnippetKind(
        "kubernetes",
        "A host on Kubernetes",
        "A volume, a deployment with a GPU, a service, and references to the secrets forge-registry, to pull the "
        "image, and forge (hf-token, optional). No image of Forge is published: put one you have built with "
        "deploy/docker/Dockerfile for YOUR_FORGE_IMAGE.",
        "yaml",
        "forge.yaml",
    ),
    SnippetKind(
        "nebius",
        "An endpoint on Nebius Serverless",
        "Creates an endpoint in your account, at your cost, and prints its id and token as exports (nebius, openssl). "
        "No image of Forge is published: set FORGE_IMAGE to one of yours that serves on port 8000 and takes the "
        "endpoint's token for a key, and REGISTRY_USERNAME and REGISTRY_PASSWORD where it is private.",
        "shell",
        "forge-nebius.sh",
    ),
)
"""Every kind, in the order one would use them."""


def kinds_named(name: str) -> tuple[SnippetKind, ...]:
    """The kind of this name, all for "", none for another."""
    return tuple(kind for kind in KINDS if name in ("", kind.name))


def base_url_of(address: str) -> str:
    """An address without /v1 and slashes at its end, the placeholder for ""."""
    return address.rstrip("/").removesuffix("/v1").rstrip("/") or BASE_URL_PLACEHOLDER


def faults(kind: str, address: str) -> list[Violation]:
    """What is wrong with the kind and the address that a request names."""
    found: list[Violation] = []
    names = [each.name for each in KINDS]
    if kind and kind not in names:
        hint = did_you_mean(kind, names)
        found.append(Violation("kind", f"'{kind}' is no kind{hint}; there are: {', '.join(names)}"))
    if address and not _BASE_URL.fullmatch(address):
        wanted = "must be http:// or https:// with a host, optionally a port and a path, and nothing else"
        found.append(Violation("base_url", wanted))
    return found
