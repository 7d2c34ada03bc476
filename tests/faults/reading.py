"""What the log of a render tells about a trial."""

from datetime import datetime

from tests.faults.ground import Body, Ground, Missed, expect
from tests.faults.settings import LEASE_SECONDS


def attempts_of(body: Body, outcomes: list[str]) -> list[Body]:
    """Its attempts; Missed unless they went like this."""
    found = [attempt["outcome"] for attempt in body["attempts"]]
    expect(found == outcomes, f"{body['id']}: its attempts went {found}, not {outcomes}")
    return body["attempts"]


def noticed_after(at: Ground, render_id: str, since: float) -> float:
    """Seconds until the log tells that the first attempt is over."""

    def told() -> list[Body]:
        events = at.ledger.events(render_id)
        return [event for event in events if event["status"] == "queued" and event["attempt"] == 1]

    found = at.until(told, what="noticing the loss", seconds=LEASE_SECONDS + 20)
    return max(0.0, moment(found[0]["at"]) - since)


def moment(text: str) -> float:
    """A time of the log, on the wall clock."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise Missed(f"{text!r} is no time") from error
