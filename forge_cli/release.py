"""Which release of Forge this is, and of which commit."""

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

_DISTRIBUTION = "forge-platform"
_REPOSITORY = Path(__file__).resolve().parents[1]
_DESCRIBE = ("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+")
_GIT_SECONDS = 5.0


@dataclass(frozen=True)
class Release:
    """A release. `commit` is None where it is not known, and ends in "+" where files differ from it."""

    version: str
    commit: str | None = None

    def __str__(self) -> str:
        return f"{self.version} ({self.commit})" if self.commit else self.version


def this_release() -> Release:
    """The release that this command belongs to."""
    try:
        found = distribution(_DISTRIBUTION)
    except PackageNotFoundError:
        return Release("unknown", _commit_of_clone())
    return Release(found.version, _commit_of_clone() or _commit_of_installation(found))


def _commit_of_clone() -> str | None:
    """The commit that a clone stands at; None where this is none, or there is no git."""
    if not (_REPOSITORY / ".git").exists():
        return None
    with suppress(OSError, subprocess.SubprocessError):
        described = subprocess.run(  # noqa: S603 — the user's own git, as below
            ["git", "--no-optional-locks", "-C", str(_REPOSITORY), *_DESCRIBE],  # noqa: S607 — the user's own git
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
        return described.stdout.strip() or None
    return None


def _commit_of_installation(found: Distribution) -> str | None:
    """The commit that pip installed from, as it keeps it (PEP 610)."""
    with suppress(ValueError, KeyError, TypeError):
        return json.loads(found.read_text("direct_url.json") or "{}")["vcs_info"]["commit_id"][:12]
    return None
