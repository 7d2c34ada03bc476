"""A platform to do bad things to: asking it, steering its renders, hurting its processes, and seeing that it holds."""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import psutil
from forge.scheduler.v1 import render_service_pb2 as pb
from forge.scheduler.v1 import render_service_pb2_grpc as rpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.chassis.trust import host_name
from tests.faults import disks
from tests.faults.clocks import ShiftedClocks
from tests.faults.promises import FINAL, Findings, Ledger, PostgresqlLedger, check, in_folder
from tests.faults.settings import FLEET, FLEET_OF_MACHINES, GENERAL, MACHINES, QUICK_MACHINES, Setting
from tests.object_stores import ObjectStoreServer, Spoiler, an_object_store
from tests.platforms import SVD, Platform, running
from tests.postgresql import PostgresqlServer, a_postgresql
from tests.ray_clusters import RayCluster, RayNode, ray_cluster

PATIENCE_SECONDS = 90.0
_OWN_ACCOUNT = "default"
_ORPHAN_SECONDS = 45.0
"""Workers end by themselves after half a minute without a call."""
_SHOWN_BY_API = 5
"""Renders of each trial whose logs and videos are fetched through the edge too."""

Body = dict[str, Any]


class Missed(AssertionError):
    """A pass line was not held."""


class NotHere(Exception):
    """The machine does not allow the fault; the message says what is missing."""


def expect(holds: object, message: str) -> None:
    """Raise Missed with `message` unless it holds."""
    if not holds:
        raise Missed(message)


class Ground:
    """One platform. A trial begins with `begin` and ends with `undo` and `settle`."""

    def __init__(
        self,
        platform: Platform,
        clocks: ShiftedClocks | None,
        *,
        postgresql: PostgresqlServer | None,
        object_store: tuple[ObjectStoreServer, Spoiler] | None,
        cluster: RayCluster | None,
        has_small_disks: bool,
        max_queued: int,
        is_quick: bool,
    ) -> None:
        self.platform = platform
        self.max_queued = max_queued
        self.clocks = clocks
        self.has_small_disks = has_small_disks
        self._is_quick = is_quick
        self.state_dir = platform.home / "state"
        self.objects_dir = platform.home / "objects"
        self._postgresql = postgresql
        self._object_store = object_store
        self._cluster = cluster
        self.ledger = PostgresqlLedger(postgresql.url) if postgresql else Ledger(self.state_dir / "scheduler.sqlite3")
        self._objects = object_store[0].found if object_store else in_folder(self.objects_dir)
        self.wall_clock_jumped = False
        self.remarks: list[str] = []
        """What a trial has found out besides, for people."""
        self._rest = platform.client()
        self._keys = itertools.count(1)
        self._accepted: list[str] = []
        self._newest = ""
        self._undo = ExitStack()
        self._videos: dict[str, str] = {}

    # A trial

    def begin(self) -> None:
        """Nothing bad is going on, and what happens from here on is this trial's."""
        self._accepted, self._undo, self.wall_clock_jumped, self.remarks = [], ExitStack(), False, []
        self._newest = max(self.ledger.ids(self._newest), default=self._newest)

    def undo(self) -> None:
        """Take back everything that `afterwards` was told of, whatever became of the trial."""
        self._undo.close()

    def afterwards(self, action: Callable[..., object], *arguments: Any) -> None:
        """Do this when the trial is over, at the latest."""
        self._undo.callback(action, *arguments)

    def settle(self) -> Findings:
        """Wait until every render of the trial has ended, and check every promise."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.ledger.unfinished() and time.monotonic() < deadline:
            time.sleep(0.1)
        ids = {*self._accepted, *self.ledger.ids(self._newest)}
        found = check(self.ledger, self._objects, sorted(ids), wall_clock_jumped=self.wall_clock_jumped)
        own = [render_id for render_id in dict.fromkeys(self._accepted) if self._is_own(render_id)]
        for render_id in own[:_SHOWN_BY_API]:
            self.answering(render_id)
            found.gaps += self._gaps_in_the_api(render_id)
        return found

    @property
    def postgresql(self) -> PostgresqlServer:
        """What the platform keeps its tables in."""
        if self._postgresql is None:
            raise NotHere("this platform keeps its tables in files")
        return self._postgresql

    @property
    def object_server(self) -> ObjectStoreServer:
        """What the platform keeps its objects in."""
        return self._in_bucket[0]

    @property
    def spoiler(self) -> Spoiler:
        """What the platform's requests for objects go through."""
        return self._in_bucket[1]

    @property
    def cluster(self) -> RayCluster:
        """What the platform's workers run on."""
        if self._cluster is None:
            raise NotHere("this platform's workers run on its own machine")
        return self._cluster

    @property
    def _in_bucket(self) -> tuple[ObjectStoreServer, Spoiler]:
        if self._object_store is None:
            raise NotHere("this platform keeps its objects in files")
        return self._object_store

    def size(self, *, quick: int, full: int) -> int:
        """How much of something a trial takes."""
        return quick if self._is_quick else full

    def seed(self, luck: Random) -> int:
        """A seed for a render whose undisturbed video is needed: one of few, because those are made once each."""
        return luck.randrange(self.size(quick=1, full=4))

    # Asking

    def body(self, size: str = "small", slug: str = SVD, **changes: Any) -> Body:
        """An inference body for the general slots, on a warm runtime: "small" takes 0.1 s, "medium" 1 s, "long" 2 s.

        At full size, where more goes on meanwhile, a long one takes 8 s.
        """
        sizes: Mapping[str, Mapping[str, int]] = {
            "small": {},
            "medium": {"num_inference_steps": 100},
            "long": {
                "num_inference_steps": 100,
                "width": self.size(quick=256, full=384),
                "height": self.size(quick=256, full=384),
                "num_frames": self.size(quick=3, full=5),
            },
        }
        return self.platform.small(slug, **{"gpu_type": GENERAL, **sizes[size], **changes})

    def post(self, path: str, body: Body | None = None, key: str = "", **more: Any) -> httpx.Response:
        """One POST through the edge. Raises httpx.TransportError when it is cut off."""
        headers = {"idempotency-key": key} if key else {}
        response = self._rest.post(path, json=body, headers=headers, **more)
        if path == "/v1/renders" and response.status_code == 200:
            self._accepted.append(response.json()["id"])
        return response

    def get(self, path: str) -> httpx.Response:
        """One GET through the edge. Raises httpx.TransportError when it is cut off."""
        return self._rest.get(path)

    def delete(self, path: str) -> httpx.Response:
        """One DELETE through the edge. Raises httpx.TransportError when it is cut off."""
        return self._rest.delete(path)

    def new_key(self) -> str:
        """An idempotency key nobody has used."""
        return f"fault-{time.time_ns()}-{next(self._keys)}"

    def submit(self, body: Body) -> str:
        """Have a render accepted, asking again with the same key while the platform is away."""
        key = self.new_key()

        def accepted() -> str | None:
            try:
                response = self.post("/v1/renders", body, key)
            except httpx.TransportError:
                return None
            expect(response.status_code in (200, 503), f"accepting was answered {response.status_code} {response.text}")
            return response.json()["id"] if response.status_code == 200 else None

        return self.until(accepted, what="being accepted")

    def note_accepted(self, render_id: str) -> None:
        """A render was accepted on another way than `submit`."""
        self._accepted.append(render_id)

    def as_account(self, account: str) -> "Account":
        """The scheduler as the edge calls it for another account."""
        environment = self.processes("services.scheduler")[0].environ()
        folder = Path(environment["FORGE_TLS_DIR"])
        authority, key, chain = ((folder / name).read_bytes() for name in ("ca.pem", "edge.key", "edge.pem"))
        channel = grpc.secure_channel(
            environment["FORGE_SCHEDULER_ADDRESS"],
            grpc.ssl_channel_credentials(authority, key, chain),
            options=[("grpc.ssl_target_name_override", host_name("scheduler"))],
        )
        self.afterwards(channel.close)
        return Account(channel, account)

    def undisturbed(self, body: Body) -> str:
        """SHA-256 of the video that this body makes when nothing goes wrong. Made once for each body."""
        name = json.dumps(body, sort_keys=True)
        if name not in self._videos:
            ended = self.ended(self.submit(body))
            self._videos[name] = ended["output"]["sha256"]
        return self._videos[name]

    # Following

    def until(
        self, holds: Callable[[], Any], *, what: str, seconds: float = PATIENCE_SECONDS, every: float = 0.02
    ) -> Any:
        """Look until something holds and return that. Missed when it takes too long."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            expect(time.monotonic() < deadline, f"{what} took more than {seconds:.0f} s")
            time.sleep(every)
        return found

    def reached(
        self,
        render_id: str,
        holds: Callable[[Body], object],
        *,
        what: str,
        seconds: float = 60,
        every: float = 0.02,
    ) -> Body:
        """Follow a render in the store until it is as wanted. Missed when it ends before or takes too long."""

        def found() -> Body | None:
            body = self.ledger.body(render_id)
            if body is None or holds(body):
                return body
            expect(body["status"] not in FINAL, f"{render_id} was {body['status']} before {what}: {body['error']}")
            return None

        try:
            return self.until(found, what=what, seconds=seconds, every=every)
        except Missed as missed:
            last = (self.ledger.events(render_id) or [{}])[-1]
            told = {name: last.get(name) for name in ("seq", "at", "status", "phase", "attempt", "message")}
            raise Missed(f"{missed}; the last event of {render_id} is {told}") from missed

    def denoising(self, render_id: str, share: float = 0.0) -> Body:
        """Follow a render until it has done this share of its steps, and one at least."""

        def holds(body: Body) -> bool:
            done, total = body["progress"]["done_steps"], body["progress"]["total_steps"]
            return body["phase"] == "denoising" and body["status"] == "running" and done >= max(1, share * total)

        return self.reached(render_id, holds, what=f"{share:.0%} of its steps")

    def ended(self, *render_ids: str, as_status: str = "succeeded", seconds: float = PATIENCE_SECONDS) -> Body:
        """Wait until renders have ended as they should, and return the last one."""
        body: Body = {}
        deadline = time.monotonic() + seconds
        for render_id in render_ids:
            left = max(1.0, deadline - time.monotonic())
            body = self.reached(render_id, _is_over, what="its end", seconds=left, every=0.05)
            expect(body["status"] == as_status, f"{render_id} ended as {body['status']}: {body['error']}")
        return body

    def same_video(self, render_id: str, sha256: str) -> None:
        """Missed unless the render's video is the one that is expected, bit for bit."""
        body = self.ledger.body(render_id)
        expect(body and body["output"] and body["output"]["sha256"] == sha256, f"{render_id} made another video")

    # Hurting

    def processes(self, module: str) -> list[psutil.Process]:
        """The platform's processes that run `module`."""
        return self.platform.processes(module)

    def worker_of(self, render_id: str) -> psutil.Process:
        """The process that renders it."""
        body = self.ledger.body(render_id) or {}
        if self._cluster is not None:
            of_all = self._cluster.processes("services.inference_worker")
            found = [each for each in of_all if each.environ().get("FORGE_WORKER_ID") == body.get("runtime_id")]
            expect(found, f"{render_id} is {body.get('status')} and has no worker")
            return found[0]
        file = self.platform.home / "run" / f"{body.get('runtime_id')}.json"
        expect(file.exists(), f"{render_id} is {body.get('status')} and has no worker")
        return psutil.Process(json.loads(file.read_text())["pid"])

    def kill(self, *processes: psutil.Process) -> float:
        """SIGKILL, and wait until they are gone. Returns when it was done, on the wall clock."""
        at = time.time()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)
        return at

    def freeze(self, process: psutil.Process) -> float:
        """SIGSTOP, until `thaw` or the end of the trial. Returns when it was done, on the wall clock."""
        self.afterwards(thaw, process)
        process.suspend()
        return time.time()

    def answering(self, render_id: str) -> None:
        """Wait until the edge, the guard and the scheduler together give an answer about a render."""

        def answers() -> bool:
            try:
                return self.get(f"/v1/renders/{render_id}").status_code == 200
            except httpx.TransportError:
                return False

        self.until(answers, what="an answer")

    def healthy(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the edge says that every service is up."""
        self.until(self.platform.is_healthy, what="health", seconds=seconds)

    def restart(self) -> None:
        """Start a platform that was stopped, at its new address."""
        self.platform.start()
        self._rest.close()
        self._rest = self.platform.client()

    def close(self) -> None:
        """Let go of connections."""
        self._rest.close()

    def _is_own(self, render_id: str) -> bool:
        """Whether our key opens it."""
        return (self.ledger.body(render_id) or {}).get("account") == _OWN_ACCOUNT

    def _gaps_in_the_api(self, render_id: str) -> Iterator[str]:
        """What a client sees of a render that has ended is what is stored."""
        render = self.get(f"/v1/renders/{render_id}").json()
        events = [json.loads(line) for line in self.get(f"/v1/renders/{render_id}/events").text.splitlines() if line]
        numbers = [event["seq"] for event in events if not event["keep_alive"]]
        if numbers != list(range(1, render["last_seq"] + 1)):
            yield f"{render_id} shows events {numbers} of {render['last_seq']}"
        if render.get("output"):
            video = self.get(render["output"]["video_url"]).content
            if hashlib.sha256(video).hexdigest() != render["output"]["sha256"]:
                yield f"{render_id} gives another video than it tells of"


class Account:
    """The scheduler as one account sees it."""

    def __init__(self, channel: Any, account: str) -> None:
        self.stub: Any = rpc.RenderServiceStub(channel)
        self.metadata = (
            ("x-forge-account", account),
            ("x-forge-key-id", f"key-of-{account}"),
            ("x-forge-scopes", "inference"),
        )

    def create(self, body: Body) -> str:
        """Have a render accepted; its identifier. Raises grpc.RpcError."""
        request = pb.CreateRenderRequest(input=ParseDict(body, Struct()))
        return self.stub.CreateRender(request, metadata=self.metadata, wait_for_ready=True).id

    def cancel(self, render_id: str) -> None:
        """Cancel one. Raises grpc.RpcError."""
        self.stub.CancelRender(pb.CancelRenderRequest(render_id=render_id), metadata=self.metadata, wait_for_ready=True)


def _is_over(body: Body) -> bool:
    return body["status"] in FINAL


def thaw(process: psutil.Process) -> None:
    """SIGCONT, if it is still there."""
    with suppress(psutil.NoSuchProcess):
        process.resume()


def add_machine(cluster: RayCluster, gpu_type: str) -> RayNode:
    """Have a machine join the cluster that has two devices of this kind."""
    labels = {"ray.io/accelerator-type": gpu_type, "ray.io/availability-region": MACHINES[gpu_type]}
    return cluster.add_node(labels, cpus=2, environment={"FORGE_HOME": str(cluster.folder / gpu_type)})


def add_machines(cluster: RayCluster, count: int) -> None:
    """Have the first machines join."""
    for gpu_type in list(MACHINES)[:count]:
        add_machine(cluster, gpu_type)


@contextmanager
def ground(setting: Setting, root: Path, *, is_quick: bool) -> Iterator[Ground]:
    """A running platform of this kind under `root`."""
    root.mkdir(parents=True, exist_ok=True)
    fleet = root / "fleet.yaml"
    fleet.write_text(FLEET_OF_MACHINES if setting.is_on_cluster else FLEET)
    home = root / "home"
    with ExitStack() as stack:
        clocks = ShiftedClocks(root) if setting.has_shifted_clocks and ShiftedClocks.can_be_built() else None
        has_small_disks = setting.has_small_disks and disks.can_be_mounted()
        if has_small_disks:
            stack.enter_context(disks.mounted(home / "state", home / "objects"))
        postgresql = stack.enter_context(a_postgresql(max_connections="60")) if setting.is_on_servers else None
        object_store = stack.enter_context(an_object_store()) if setting.is_on_servers else None
        cluster = stack.enter_context(ray_cluster()) if setting.is_on_cluster else None
        environment = {**setting.environment, **(clocks.environment if clocks else {})}
        if cluster:
            add_machines(cluster, QUICK_MACHINES if is_quick else len(MACHINES))
            environment |= {"FORGE_PLACER": "ray", "FORGE_OBJECTS_URL": (home / "objects").as_uri()}
            environment |= cluster.environment
        if postgresql:
            environment["FORGE_DATABASE_URL"] = postgresql.url
        if object_store:
            environment |= object_store[0].environment
        platform = stack.enter_context(running(Platform(home, str(fleet), environment, orphan_seconds=_ORPHAN_SECONDS)))
        subject = Ground(
            platform,
            clocks,
            postgresql=postgresql,
            object_store=object_store,
            cluster=cluster,
            has_small_disks=has_small_disks,
            max_queued=setting.max_queued,
            is_quick=is_quick,
        )
        stack.callback(subject.close)
        yield subject
