"""Too many at once: of the same request, of one account, and of everything."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

import httpx

from tests.faults.ground import Account, Ground, expect
from tests.faults.reading import moment


def one_key(at: Ground, luck: Random) -> None:
    """50 creates at once with one idempotency key make one render, and all 50 are told of it."""
    body, key = at.body("small", seed=luck.randrange(1000)), at.new_key()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: at.post("/v1/renders", body, key), range(50)))
    expect(
        {answer.status_code for answer in answers} == {200}, f"answers were {Counter(a.status_code for a in answers)}"
    )
    ids = {answer.json()["id"] for answer in answers}
    expect(list(ids) == at.ledger.with_key(key), f"the key made {ids}")
    at.ended(*ids)


def fair_share(at: Ground, luck: Random) -> None:
    """9,000 renders of one account do not hold 99 small ones of another back beyond their share.

    While these wait, no more device time is begun for the crowd than for them, but for one render a slot.
    """
    many, few, name = at.size(quick=20, full=9_000), at.size(quick=4, full=99), luck.randrange(1 << 31)
    crowd, small = (at.as_account(f"{who}-{name}") for who in ("crowd", "small"))
    theirs = [crowd.create(at.body("medium", seed=number)) for number in range(many)]
    at.afterwards(_cancel_all, at, crowd, theirs)
    at.reached(theirs[0], lambda body: body["attempts"], what="its turn")
    began = time.monotonic()
    ours = [small.create(at.body("small", seed=number)) for number in range(few)]
    for render_id in ours:
        at.note_accepted(render_id)
    at.ended(*ours, seconds=60 + 5 * few)
    took = time.monotonic() - began
    attempts = [attempt for render_id in ours for attempt in at.ledger.attempts(render_id)]
    first = min(moment((at.ledger.body(render_id) or {})["created_at"]) for render_id in ours)
    last = max(moment(attempt["began_at"]) for attempt in attempts)
    others = [attempt for render_id in theirs for attempt in at.ledger.attempts(render_id)]
    meanwhile = [other["gpu_seconds"] for other in others if first < moment(other["began_at"]) < last]
    waiting = sum((at.ledger.body(render_id) or {})["status"] == "queued" for render_id in theirs)
    expect(waiting, "the crowd was gone before the small ones were done: the trial shows nothing")
    used = sum(attempt["gpu_seconds"] for attempt in attempts)
    at.remarks.append(
        f"{few} small renders took {took:.1f} s beside {many} others: {used:.1f} s on devices; "
        f"meanwhile {len(meanwhile)} of the others began, for {sum(meanwhile):.1f} s"
    )
    allowed = used + 2 * max(meanwhile, default=0.0)
    expect(sum(meanwhile) <= allowed, f"{sum(meanwhile):.1f} s were begun for the crowd, {used:.1f} s for the others")


def overload(at: Ground, luck: Random) -> None:
    """What is too much is refused with 429 and a time to come back at, never 5xx; what was accepted is rendered."""
    holding = [at.submit(at.body("medium", seed=seed)) for seed in range(2)]
    for render_id in holding:
        # Until then it takes a place of the queue itself.
        at.reached(render_id, lambda body: body["status"] != "queued", what="its start")
    wanted = 5 * at.max_queued

    def ask(number: int) -> httpx.Response:
        return at.post("/v1/renders", at.body("small", seed=number), at.new_key())

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(wanted)))
    codes = Counter(answer.status_code for answer in answers)
    expect(set(codes) == {200, 429} and codes[200] >= at.max_queued, f"answers were {codes}")
    for answer in answers:
        if answer.status_code == 429:
            expect(retry_seconds(answer) > 0, f"refused without a time to come back at: {answer.text}")
    at.ended(*holding, *(answer.json()["id"] for answer in answers if answer.status_code == 200))


def retry_seconds(answer: httpx.Response) -> float:
    """When to come back, as google.rpc.RetryInfo has it; 0 without one."""
    for detail in answer.json().get("details", []):
        if detail["@type"].endswith("google.rpc.RetryInfo"):
            return float(detail["retry_delay" if "retry_delay" in detail else "retryDelay"].removesuffix("s"))
    return 0.0


def _cancel_all(at: Ground, account: Account, render_ids: list[str]) -> None:
    for render_id in render_ids:
        at.note_accepted(render_id)
        account.cancel(render_id)
