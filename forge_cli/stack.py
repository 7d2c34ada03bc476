"""The whole platform on this machine: services and edge under a supervisor, from the lock to the last process."""

import math
import os
import random
import socket
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from forge_cli import certificates
from forge_cli.draining import drain_edge
from forge_cli.edge import EdgeAddresses, edge_config, envoy_command, listening_at
from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.logs import LogFollower, LogLine
from forge_cli.metrics_targets import metrics_environment, write_targets
from forge_cli.release import this_release
from forge_cli.services import setting, speaks_plainly
from forge_cli.stop_times import StopTimes, stop_times
from forge_cli.supervise import Program, Supervisor

EDGE = "edge"
_WORKERS = "inference-worker"  # started by the scheduler, so that they outlive it; their log lies beside the others
# A service ends before those it asks, and the edge before all.
_SERVICES = {"traces": 5, "catalog": 10, "billing-estimate": 10, "accounts": 10, "scheduler": 20, "web": 25}
_EDGE_ORDER = 30
_SCHEDULER, _TRACES = "scheduler", "traces"
_OF_DATABASES, _OF_BUCKETS_AND_CLUSTERS = "FORGE_DATABASE_URL", ("AWS_", "RAY_")
_OF_ACCOUNTS = "FORGE_ENDPOINT_TOKEN"
_WITHOUT_DATABASES = frozenset({"web", EDGE})
_NOT_FOR_SERVICES = frozenset({"FORGE_API_KEY", "FORGE_API_BASE", "FORGE_TLS_DIR"})
_READY_SECONDS = 120.0
_CRASHES, _CRASH_WINDOW_SECONDS = 3, 60.0


@dataclass(frozen=True)
class StackOptions:
    """What to run. `port` 0 lets the system choose; `fleet` comes from `fleet_named`."""

    home: Home
    host: str
    port: int
    fleet: str
    schedulers: int = 1
    placer: str = "local"

    @property
    def programs(self) -> dict[str, str]:
        """The name of each process and the service that it runs."""
        further = {f"{_SCHEDULER}-{number}": _SCHEDULER for number in range(2, self.schedulers + 1)}
        return {name: name for name in _SERVICES} | further


def fleet_named(given: str | None, *, default: str = "local") -> str:
    """The fleet to run: "pages", "local", or the absolute path of a fleet file that exists."""
    fleet = given or default
    if fleet in ("pages", "local"):
        return fleet
    path = Path(fleet).absolute()
    if not path.is_file():
        raise CommandFailed(f"there is no fleet {fleet}", hints=["use pages, local, or the path of a fleet file"])
    return str(path)


class Stack:
    """The platform while it runs."""

    def __init__(
        self, base_url: str, first_key: str | None, supervisor: Supervisor, logs: LogFollower, logs_dir: Path
    ) -> None:
        self.base_url = base_url
        self.first_key = first_key
        self.logs = logs
        self._supervisor = supervisor
        self._logs_dir = logs_dir
        self._pids: dict[str, int] = {}
        self._crashes: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_CRASHES))

    def wait_until_ready(self, show: Callable[[list[LogLine]], None]) -> None:
        """Return once the edge says that every service is up. `show` gets the log lines as they come.

        CommandFailed when a program crashes again and again, or when it takes too long.
        """
        deadline = time.monotonic() + _READY_SECONDS
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            while time.monotonic() < deadline:
                show(self.logs.poll())
                for name in self.watch():
                    if self.crashes_again_and_again(name):
                        raise self.crash_report(name)
                try:
                    if client.get(f"{self.base_url}/healthz").status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # the edge does not listen yet
                time.sleep(0.1)
        raise CommandFailed(
            f"Forge was not ready after {_READY_SECONDS:.0f} s",
            facts=[f"{line.service}: {line.text}" for line in self.logs.recent_warnings(10)],
            hints=[f"the logs are in {self._logs_dir}"],
        )

    def watch(self) -> list[str]:
        """The programs that ended since the last call. CommandFailed when the supervisor itself did."""
        self._supervisor.check()
        ended = []
        for state in self._supervisor.states():
            before = self._pids.get(state.name)
            if before and before != state.pid:
                ended.append(state.name)
                self._crashes[state.name].append(time.monotonic())
            self._pids[state.name] = state.pid if state.is_running else 0
        return ended

    def crashes_again_and_again(self, name: str) -> bool:
        """Whether a program ended several times within a minute."""
        times = self._crashes[name]
        return len(times) == _CRASHES and times[-1] - times[0] < _CRASH_WINDOW_SECONDS

    def crash_report(self, name: str) -> CommandFailed:
        """What is known about a program that keeps ending."""
        self.logs.poll()
        return CommandFailed(
            f"{name} keeps crashing; its last words were:",
            facts=[line.text for line in self.logs.recent(name, 15)] or ["(nothing)"],
            hints=[f"its whole log is {self._logs_dir / name}.log"],
        )


@contextmanager
def running_stack(options: StackOptions, say: Callable[[str], None] = lambda _: None) -> Iterator[Stack]:
    """Start the platform; it is not ready yet when the block begins, and gone when it has ended.

    On the way out the edge finishes what it serves, then it ends, then the scheduler, then the others. `say` tells
    people what is waited for; each KeyboardInterrupt ends a wait. CommandFailed when the home is in use, the port is
    taken, or a part cannot be prepared.
    """
    home = options.home
    if options.schedulers > 1 and not os.environ.get("FORGE_DATABASE_URL"):
        raise CommandFailed(
            "several schedulers need a PostgreSQL, which they share", hints=["set FORGE_DATABASE_URL, or leave one"]
        )
    home.make()
    with ExitStack() as cleanup:
        cleanup.enter_context(home.locked())
        times = stop_times(os.environ)
        _await_predecessor(home, times.everything)
        port = _listening_port(options.host, options.port)
        tls_dir = _certificates(home, os.environ)
        names = list(options.programs)
        found = free_ports(2 * len(names) + 1)
        ports = dict(zip(names, found, strict=False))
        pages = dict(zip([*names, EDGE], found[len(names) :], strict=True))
        addresses = _addresses(options, ports)
        environment = child_environment(os.environ, options, addresses, tls_dir)
        write_targets(home.run_dir, pages)
        key = _first_key(environment)
        programs = [_service_program(options, name, times, ports, pages, environment) for name in names]
        edge = envoy_command(_edge_config(options, port, addresses, pages[EDGE], tls_dir))
        programs.append(
            Program(EDGE, edge, _EDGE_ORDER, math.ceil(times.edge), without=secrets_not_for(EDGE, environment))
        )
        logs = LogFollower(home.logs_dir, [*names, EDGE, _WORKERS])
        cleanup.callback(logs.close)
        supervisor = Supervisor(programs, run_dir=home.run_dir, logs_dir=home.logs_dir)
        cleanup.callback(supervisor.stop, patience_seconds=times.everything)
        supervisor.start(environment)
        cleanup.callback(_let_calls_end, home, times, say)
        base_url = f"http://{_reachable(options.host)}:{port}"
        cleanup.callback(home.api_base_file.unlink, missing_ok=True)
        home.release_file.write_text(f"{this_release()}\n", "utf-8")
        home.api_base_file.write_text(base_url + "\n", "utf-8")
        yield Stack(base_url, key, supervisor, logs, home.logs_dir)


def _addresses(options: StackOptions, ports: Mapping[str, int]) -> dict[str, str]:
    """Where each service is called: "host:port", or several of them separated by commas."""
    found: dict[str, list[str]] = {}
    for name, service in options.programs.items():
        found.setdefault(service, []).append(f"127.0.0.1:{ports[name]}")
    if options.placer == "ray":  # the only service that workers call, and they are on other machines
        found[_TRACES] = [f"{_address_towards(os.environ.get('RAY_ADDRESS', ''))}:{ports[_TRACES]}"]
    return {service: ",".join(addresses) for service, addresses in found.items()}


def _address_towards(ray_address: str) -> str:
    """The address of this machine where machines of the cluster at `ray_address` see it."""
    parts = urlsplit(ray_address if "://" in ray_address else f"ray://{ray_address}")
    try:
        if not parts.hostname:
            raise ValueError("it names no host")
        family, kind, _, _, address = socket.getaddrinfo(parts.hostname, parts.port or 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # which sends nothing
            own = probe.getsockname()[0]
    except (OSError, ValueError) as error:
        raise CommandFailed(
            f"RAY_ADDRESS: no Ray cluster is found there: {error}",
            hints=["name the head of the cluster: ray://host:10001, or host:6379 on one of its machines"],
        ) from error
    return f"[{own}]" if ":" in own else own


def child_environment(
    environment: Mapping[str, str], options: StackOptions, addresses: Mapping[str, str], tls_dir: Path | None = None
) -> dict[str, str]:
    """What the services are started with: our own environment, their addresses, and absolute paths."""
    child = {name: value for name, value in environment.items() if name not in _NOT_FOR_SERVICES}
    for name in ("FORGE_CONFIG_DIR", "FORGE_WEIGHTS"):
        if name in child and Path(child[name]).is_dir():
            child[name] = str(Path(child[name]).absolute())
    child["FORGE_HOME"] = str(options.home.path)
    if tls_dir:
        child["FORGE_TLS_DIR"] = str(tls_dir)
    child["FORGE_FLEET"] = options.fleet
    child["FORGE_PLACER"] = options.placer
    child["PYTHONUNBUFFERED"] = "1"
    # gRPC's fork handlers crash the child when the scheduler starts a worker while calls are under way; it only execs.
    child.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    return child | {setting(service, "address"): address for service, address in addresses.items()}


def _certificates(home: Home, environment: Mapping[str, str]) -> Path | None:
    """Where the programs' new certificates are; None where the environment asks for plain text."""
    if speaks_plainly(environment):
        return None
    programs = [certificates.EDGE, certificates.WORKER, *map(certificates.service, _SERVICES)]
    certificates.write_certificates(home.tls_dir, programs)
    return home.tls_dir


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now and stay so while a service restarts.

    They lie below the range the system takes ports for outgoing connections and port 0 from.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 2_000):  # no test seeds this one
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise CommandFailed("this machine has no free ports for the services")


def _let_calls_end(home: Home, times: StopTimes, say: Callable[[str], None]) -> None:
    """The first part of the end: nothing new begins, and calls under way get their time."""
    try:
        say("Stopping … Ctrl-C again hurries.")
        drain_edge(home.run_dir, patience_seconds=times.calls, say=say)
    except KeyboardInterrupt:
        say("Not waiting for calls any longer; Ctrl-C again kills what is left.")


def secrets_not_for(program: str, environment: Mapping[str, str]) -> list[str]:
    """Variables of the services that this one has no use for, and that would be known where it is broken into."""
    return sorted(
        name
        for name in environment
        if (name == _OF_DATABASES and program in _WITHOUT_DATABASES)
        or (name.startswith(_OF_BUCKETS_AND_CLUSTERS) and program != _SCHEDULER)
        or (name == _OF_ACCOUNTS and program != "accounts")
    )


def _service_program(
    options: StackOptions,
    name: str,
    times: StopTimes,
    ports: Mapping[str, int],
    pages: Mapping[str, int],
    environment: Mapping[str, str],
) -> Program:
    """A process of a service. It alone is told where it listens, where it shows its figures and which replica it is."""
    service = options.programs[name]
    own = metrics_environment(service, pages[name])
    if options.schedulers > 1 and service == _SCHEDULER:
        own[setting(service, "address")] = f"127.0.0.1:{ports[name]}"
    if name != service:
        own[setting(service, "replica")] = name.removeprefix(f"{service}-")
    return Program(
        name=name,
        command=[sys.executable, "-P", "-m", f"services.{service.replace('-', '_')}"],
        order=_SERVICES[service],
        stop_seconds=math.ceil(times.scheduler if service == _SCHEDULER else times.other_services),
        environment=own,
        without=secrets_not_for(service, environment),
    )


def _edge_config(
    options: StackOptions, port: int, addresses: Mapping[str, str], admin_port: int, tls_dir: Path | None
) -> Path:
    address = {service.replace("-", "_"): found for service, found in addresses.items()}
    return edge_config(
        options.home.run_dir,
        EdgeAddresses(listen=listening_at(options.host, port), admin=f"127.0.0.1:{admin_port}", **address),
        host=options.host,
        environment=os.environ,
        tls_dir=tls_dir,
    )


def _listening_port(host: str, port: int) -> int:
    """The port to serve at: `port` when it is free, any free one for 0."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise CommandFailed(
            f"{host} is no address of this machine: {error}", hints=["choose another --host"]
        ) from error
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise CommandFailed(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hints=["choose another port with --port, or any free one with --port 0"],
            ) from error
        return probe.getsockname()[1]


def _reachable(host: str) -> str:
    """An address of this machine at which a server that listens on `host` answers."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 — compared with, not bound to
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _first_key(environment: Mapping[str, str]) -> str | None:
    """The key that was made because the installation had none yet; None when it has one."""
    made = subprocess.run(
        [sys.executable, "-P", "-m", "services.accounts", "first-key"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode == os.EX_CONFIG:
        raise CommandFailed("Forge cannot start like this", facts=made.stderr.strip().splitlines()[1:])
    if made.returncode:
        raise CommandFailed("the first API key could not be made", facts=made.stderr.strip().splitlines()[-10:])
    return made.stdout.strip() or None


def _await_predecessor(home: Home, patience_seconds: float) -> None:
    """Let the services of an earlier run, whose `forge up` was killed, finish first: two must not share a database."""
    pid = 0
    try:
        pid = int((home.run_dir / "supervisord.pid").read_text("utf-8"))
        process = psutil.Process(pid)
        if str(home.run_dir / "supervisord.conf") not in process.cmdline():
            return
        process.wait(patience_seconds)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return
    except psutil.TimeoutExpired:
        raise CommandFailed(
            "the services of an earlier run still stop", hints=[f"wait, or end their supervisor with: kill {pid}"]
        ) from None
