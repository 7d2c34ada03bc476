"""The scheduler and every other service, killed under load, and clients that are cut off by that."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from threading import Event

import httpx

from tests.faults.ground import Ground, expect
from tests.faults.reading import attempts_of
from tests.receivers import receiving


def scheduler_under_load(at: Ground, luck: Random) -> float:
    """None is lost; those that run go on in the same attempt, and every step of them is in the log.

    Recovery is until the platform answers again.
    """
    bodies = [at.body("long", seed=at.seed(luck)) for _ in range(2)]
    expected = [at.undisturbed(body) for body in bodies]
    running = [at.submit(body) for body in bodies]
    queued = at.size(quick=30, full=200)
    waiting = [at.submit(at.body("small", seed=seed)) for seed in range(queued)]
    for render_id in running:
        at.denoising(render_id)
    time.sleep(luck.uniform(0.0, 0.5))
    killed_at = at.kill(*at.processes("services.scheduler"))
    at.answering(running[0])
    recovered = time.time() - killed_at
    for render_id, sha256 in zip(running, expected, strict=True):
        ended = at.ended(render_id)
        attempts_of(ended, ["succeeded"])
        at.same_video(render_id, sha256)
        steps = {event["progress"]["done_steps"] for event in at.ledger.events(render_id)}
        total = ended["progress"]["total_steps"]
        expect(steps >= set(range(1, total + 1)), f"steps {set(range(1, total + 1)) - steps} are not in the log")
    at.ended(*waiting, seconds=60 + queued)
    return recovered


def service_under_load(module: str) -> Callable[[Ground, Random], float]:
    """The trial that kills one service that is not the scheduler."""

    def trial(at: Ground, luck: Random) -> float:
        """Every request is answered, refused with 503, or cut off; what was accepted is rendered.

        Recovery is until a new render is accepted.
        """
        with Load(at) as load:
            load.wait_for(accepted=4)
            time.sleep(luck.uniform(0.0, 0.3))
            victims = at.until(lambda: at.processes(module), what=f"{module} coming back")
            killed_at = at.kill(*victims)
            at.submit(at.body("small"))
            recovered = time.time() - killed_at
            load.wait_for(accepted=4)
        at.healthy()
        expect(not load.wrong, f"requests were answered {load.wrong}")
        at.ended(*load.accepted)
        return recovered

    return trial


def client_cut_off(module: str) -> Callable[[Ground, Random], float]:
    """The trial that cuts a waiting client off by killing a process on its way."""

    def trial(at: Ground, luck: Random) -> float:
        """A client that is cut off and asks again with its idempotency key gets the same render and its video.

        Recovery is until the platform answers again.
        """
        body, key = at.body("long", seed=at.seed(luck)), at.new_key()
        expected = at.undisturbed(body)

        def ask() -> httpx.Response | None:
            try:
                return at.post(f"/v1/inference/{body['model']}", body, key)
            except httpx.TransportError:
                return None

        with ThreadPoolExecutor(1) as client:
            waiting = client.submit(ask)
            render_id = at.until(lambda: at.ledger.with_key(key), what="accepting")[0]
            at.note_accepted(render_id)
            at.denoising(render_id, share=luck.uniform(0.1, 0.4))
            killed_at = at.kill(*at.processes(module))
            answer = waiting.result(timeout=30)
            expect(answer is None or answer.status_code == 503, f"the first call was answered {answer}")
            at.answering(render_id)
            recovered = time.time() - killed_at
            again = at.until(lambda: (a := ask()) and a.status_code == 200 and a, what="an answer").json()
        expect((again["id"], again["status"]) == (render_id, "succeeded"), f"got {again['id']} {again['status']}")
        expect(at.ledger.with_key(key) == [render_id], "the key made more than one render")
        at.same_video(render_id, expected)
        attempts_of(at.ended(render_id), ["succeeded"])
        return recovered

    return trial


def scheduler_in_the_middle_of_a_message(at: Ground, luck: Random) -> float:
    """A webhook's message that was under way comes again under the same id, and all the others come.

    Recovery is until it has come again.
    """
    with receiving() as receiver:
        made = at.post("/v1/webhooks", {"url": receiver.url, "statuses": ["succeeded"]}).json()
        at.afterwards(at.delete, f"/v1/webhooks/{made['webhook']['id']}")
        receiver.answers.clear()
        render_ids = [at.submit(at.body("small", seed=seed)) for seed in range(3)]
        under_way = at.until(receiver.ids, what="a message")[0]
        time.sleep(luck.uniform(0.0, 0.5))
        killed_at = at.kill(*at.processes("services.scheduler"))
        receiver.answers.set()
        at.until(lambda: receiver.ids().count(under_way) > 1, what="the message coming again")
        recovered = time.time() - killed_at
        at.ended(*render_ids)
        for render_id in render_ids:
            at.until(lambda of=render_id: receiver.told(made["secret"], of), what=f"the message of {render_id}")
        ids = set(receiver.ids())
        expect(len(ids) == len(render_ids), f"{len(render_ids)} renders succeeded, {len(ids)} messages tell of it")
        waiting = f"/v1/webhook-deliveries?webhook_id={made['webhook']['id']}"
        at.until(
            lambda: {delivery["state"] for delivery in at.get(waiting).json()["deliveries"]} == {"delivered"},
            what="every delivery on record",
        )
    return recovered


class Load:
    """Clients that have renders accepted, one after the other, while the block runs."""

    def __init__(self, at: Ground, clients: int = 3) -> None:
        self.accepted: list[str] = []
        self.accepted_at: list[float] = []
        """When each was, on the clock that only grows."""
        self.wrong: set[str] = set()
        """Answers nobody should get."""
        self._at = at
        self._over = Event()
        self._clients = clients
        self._pool = ThreadPoolExecutor(clients)
        self._work: list[Future[None]] = []

    def __enter__(self) -> "Load":
        self._work = [self._pool.submit(self._ask) for _ in range(self._clients)]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()

    def wait_for(self, *, accepted: int) -> None:
        """Return when so many more have been accepted."""
        wanted = len(self.accepted) + accepted
        self._at.until(lambda: len(self.accepted) >= wanted or self.wrong, what="accepting renders")

    def _ask(self) -> None:
        while not self._over.wait(0.1):
            try:
                response = self._at.post("/v1/renders", self._at.body("small"), self._at.new_key())
            except httpx.TransportError:
                continue
            if response.status_code == 200:
                self.accepted.append(response.json()["id"])
                self.accepted_at.append(time.monotonic())
            elif response.status_code != 503:
                self.wrong.add(f"{response.status_code} {response.text[:200]}")
