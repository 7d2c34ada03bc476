"""Checks of what was set: the environment, the files of config/, the weights, this command's own settings."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground
from forge_cli.edge_rules import EdgeRules
from forge_cli.failures import CommandFailed
from forge_cli.settings import load
from forge_cli.stop_times import stop_times

OWN_SETTINGS = frozenset(
    {
        "FORGE_HOME",
        "FORGE_API_BASE",
        "FORGE_API_KEY",
        "FORGE_FLEET",
        "FORGE_PLACER",
        "FORGE_ENDPOINT_MODEL",
        "FORGE_ENDPOINT_TOKEN",
        "FORGE_ENDPOINT_VERSION",
        "FORGE_MODELS",
        "FORGE_PUBLIC_CATALOGUE",
        "FORGE_SCHEDULERS",
        "FORGE_PLAINTEXT",
        "FORGE_CONFIG_DIR",
        "FORGE_DATABASE_URL",
        "FORGE_WEIGHTS",
        "FORGE_SHUTDOWN_GRACE_SECONDS",
        "FORGE_DRAIN_SECONDS",
        "FORGE_WORKER_STOP_SECONDS",
        "FORGE_TLS_DIR",
        "FORGE_ALLOWED_HOSTS",
        "FORGE_CORS_ORIGINS",
        "FORGE_TRUSTED_PROXIES",
        "FORGE_MAX_CONNECTIONS",
        "FORGE_EDGE_MEMORY_MIB",
        "FORGE_METRICS_ADDRESSES",
    }
)
"""What this command reads of the environment."""
SNIPPET_SETTINGS = frozenset(
    {
        "FORGE_API_ROUTE",
        "FORGE_GPU_TYPE",
        "FORGE_IMAGE",
        "FORGE_KEEP_WARM",
        "FORGE_MODEL_VERSION",
        "FORGE_REGION",
        "FORGE_REQUEST_BODY_FILE",
        "FORGE_REQUEST_TIMEOUT_SECONDS",
    }
)
"""What the texts of forge snippets read of it."""


def environment(ground: Ground) -> Iterator[Finding]:
    """Settings that are wrong, and those that nobody reads."""
    services = ground.services.get("settings", {"faults": []})
    faults = [*services["faults"], *_own_faults(ground)]
    for fault in faults:
        yield broken("environment", fault, "mend it, or unset it for its default; docs/operations.md has them all")
    known = {*services.get("names", ()), *OWN_SETTINGS, *SNIPPET_SETTINGS}
    given = sorted(name for name in ground.environment if name.startswith("FORGE_"))
    unread = [name for name in given if name not in known] if services.get("names") else []
    for name in unread:
        meant = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {meant[0]}?" if meant else "unset it; docs/operations.md has the settings"
        yield doubtful("environment", f"nothing reads {name}", remedy)
    if not (faults or unread):
        yield well("environment", f"set and read: {', '.join(given)}" if given else "no FORGE_ variable is set")


def _own_faults(ground: Ground) -> Iterator[str]:
    try:
        EdgeRules.of(ground.environment, "127.0.0.1")
    except ValueError as error:
        yield str(error)
    try:
        stop_times(ground.environment)
    except CommandFailed as error:
        yield error.message


def files(ground: Ground) -> Iterator[Finding]:
    """The files of config/, as the services read them."""
    for part, name in (("models", "the catalogue"), ("prices", "the price book"), ("fleet", "the fleet")):
        found: dict[str, Any] | None = ground.services.get(part)
        if found is None:
            return
        for fault in found["faults"]:
            yield broken("config", f"{name}: {fault}", "mend the file; the service that reads it does not start")
        if not found["faults"]:
            yield well("config", f"{name} can be read{_extent(part, found)}")


def _extent(part: str, found: dict[str, Any]) -> str:
    if part == "models":
        return f": {len(found['versions'])} versions of models"
    if part == "fleet":
        kinds: dict[str, int] = {}
        for slot in found["slots"]:
            kinds[slot["gpu_type"]] = kinds.get(slot["gpu_type"], 0) + 1
        return f" ({found['name']}): " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return ""


def weights(ground: Ground) -> Iterator[Finding]:
    """Where FORGE_WEIGHTS leads."""
    setting = ground.environment.get("FORGE_WEIGHTS", "").strip()
    if setting in ("", "demo", "random"):
        yield well("weights", f"{setting or 'demo'} weights come with Forge: none are needed")
    elif setting == "hub":
        yield well(
            "weights", "pinned checkpoints come from the Hugging Face hub: that needs the network, and was not tried"
        )
    elif not Path(setting).is_dir():
        text = f"FORGE_WEIGHTS is {setting!r}, which is no directory"
        yield broken("weights", text, "name a directory that is there, or write demo, random or hub")
    else:
        yield from _folders(Path(setting), ground.services.get("models", {}).get("versions", []))


def _folders(folder: Path, versions: list[dict[str, str]]) -> Iterator[Finding]:
    """Which versions have their weights, where workers look for them."""
    for version in versions:
        name = f"{version['slug']} {version['version']}"
        own = folder / version["slug"] / version["version"]
        shared = folder / version["weights_repository"].rpartition("/")[2]
        if place := next((place for place in (own, shared) if place.is_dir()), None):
            yield well("weights", f"{name} has its weights in {place}")
        else:
            yield doubtful("weights", f"{name} has no weights in {folder}", f"put them into {own} or {shared}")


def client(ground: Ground) -> Iterator[Finding]:
    """What this command would talk to, and whether it has a key. The key itself is shown to nobody."""
    try:
        found = load(ground.home, environment=ground.environment)
    except CommandFailed as error:
        yield broken("client", "; ".join([error.message, *error.facts]), "; ".join(error.hints) or "mend it")
        return
    key = "with a key" if found.api_key else "without a key"
    yield well("client", f"commands talk to {found.api_base}, {key}")
