"""Where an installation keeps its things, and the lock that only one running platform can hold."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forge_cli.failures import CommandFailed


@dataclass(frozen=True)
class Home:
    """The directory of one installation: FORGE_HOME, an absolute path."""

    path: Path

    @classmethod
    def at(cls, given: Path | None) -> "Home":
        """The home that a flag gave, or FORGE_HOME, or ~/.forge."""
        chosen = given or Path(os.environ.get("FORGE_HOME") or Path.home() / ".forge")
        return cls(chosen.expanduser().absolute())

    @property
    def run_dir(self) -> Path:
        """What only lives as long as the platform runs."""
        return self.path / "run"

    @property
    def logs_dir(self) -> Path:
        """One file per service."""
        return self.path / "logs"

    @property
    def tls_dir(self) -> Path:
        """Certificates that the programs of the platform know each other by."""
        return self.path / "tls"

    @property
    def state_dir(self) -> Path:
        """The services' databases."""
        return self.path / "state"

    @property
    def secrets_dir(self) -> Path:
        """What keys are hashed with."""
        return self.path / "secrets"

    def expect_installation(self, environment: Mapping[str, str]) -> None:
        """Raise CommandFailed unless a platform was started here.

        Its tables are in files, except where the environment names a PostgreSQL.
        """
        if not (self.secrets_dir if environment.get("FORGE_DATABASE_URL") else self.state_dir).is_dir():
            raise CommandFailed(
                f"there is no installation in {self.path}",
                hints=["name its directory with --home or FORGE_HOME", "a new one is made by its first: forge up"],
            )

    @property
    def api_key_file(self) -> Path:
        """The key made at the first start."""
        return self.path / "api-key"

    @property
    def api_base_file(self) -> Path:
        """Where the running platform is served."""
        return self.run_dir / "api-base"

    @property
    def release_file(self) -> Path:
        """Of which release the running platform is."""
        return self.run_dir / "release"

    @property
    def settings_file(self) -> Path:
        """Settings of the `forge` command, written by people."""
        return self.path / "cli.toml"

    def make(self) -> None:
        """Make the directories; only their owner may look inside."""
        for directory in (self.path, self.run_dir, self.logs_dir):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise CommandFailed(
                    f"cannot make {directory}: {error.strerror}", hints=["choose another place with --home"]
                ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home for one running platform. The kernel frees the lock however the holder ends."""
        try:
            lock = (self.run_dir / "up.lock").open("a+")
        except OSError as error:
            raise CommandFailed(f"cannot write in {self.run_dir}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise CommandFailed(
                    f"Forge already runs for {self.path} (pid {holder})",
                    hints=[f"stop it with: kill {holder}", "or start another one beside it with --home and --port"],
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
