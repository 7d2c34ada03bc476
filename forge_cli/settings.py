"""Where the API is and which key to send: from flags, the environment, or the home's files, in this order."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forge_cli.failures import INVALID_ARGUMENT, CommandFailed
from forge_cli.home import Home

DEFAULT_API_BASE = "http://127.0.0.1:8080"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Settings:
    """What a client needs. `api_base` is "scheme://host:port" without a path; `api_key` is None when there is none."""

    api_base: str
    api_key: str | None = field(repr=False)
    key_origin: str = field(default="", compare=False)
    """Where the key came from, in words."""


def load(
    home: Home,
    *,
    api_base: str | None = None,
    api_key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings by precedence.

    The address: flag, FORGE_API_BASE, cli.toml, the platform running on this home, http://127.0.0.1:8080.
    The key: flag, FORGE_API_KEY, the home's api-key, cli.toml. The home's own key is only ever sent to this machine or
    to the address the home's platform runs at: naming another address must not hand it to a stranger.
    """
    file = _read_file(home)
    served_at = _read_line(home.api_base_file)
    base = normalised(
        api_base or environment.get("FORGE_API_BASE") or file.get("api_base") or served_at or DEFAULT_API_BASE
    )
    is_at_home = is_loopback(base) or bool(served_at and base == normalised(served_at))
    keys = {
        "--api-key": api_key,
        "FORGE_API_KEY": environment.get("FORGE_API_KEY"),
        str(home.api_key_file): _read_line(home.api_key_file) if is_at_home else None,
        str(home.settings_file): file.get("api_key"),
    }
    origin, key = next(((origin, key.strip()) for origin, key in keys.items() if key), ("", ""))
    if not (key.isascii() and key.isprintable()):
        raise CommandFailed(f"the API key of {origin} holds characters that no key has")
    return Settings(base, key or None, origin)


def normalised(api_base: str) -> str:
    """The address without a trailing slash or /v1."""
    base = api_base.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(base)
        well_formed = parts.scheme in ("http", "https") and parts.hostname and not parts.path and parts.port != 0
        well_formed = well_formed and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise CommandFailed(
            "the API base is not an address that can be used",
            facts=[f"got: {api_base}"],
            hints=["write it as http://HOST:PORT or https://HOST"],
            code=INVALID_ARGUMENT,
        )
    return base


def is_loopback(api_base: str) -> bool:
    """Whether the address is on this machine and reached by no other."""
    return urlsplit(api_base).hostname in _LOOPBACK


def _read_file(home: Home) -> dict[str, Any]:
    try:
        found = tomllib.loads(home.settings_file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandFailed(f"cannot read {home.settings_file}", facts=[str(error)]) from error
    known = {"api_base", "api_key"}
    wrong = [name for name, value in found.items() if name not in known or not isinstance(value, str)]
    if wrong:
        raise CommandFailed(
            f"{home.settings_file} holds settings that are unknown or no text: {', '.join(sorted(wrong))}",
            hints=["known settings: api_base, api_key"],
        )
    return found


def _read_line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
