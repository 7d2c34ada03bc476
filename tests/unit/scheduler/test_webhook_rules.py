"""What a webhook is told, when it is tried again, and how a message is signed."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from services.scheduler.convert.webhooks import message_body
from services.scheduler.domain.facts import Failure, Progress
from services.scheduler.domain.render import RenderStatus, snapshot
from services.scheduler.domain.webhook import (
    BACKOFF_SECONDS,
    MAX_PAUSE_SECONDS,
    TOLD_STATUSES,
    Answer,
    Delivery,
    DeliveryState,
    IllegalDeliveryMove,
    Webhook,
    asked_statuses,
    new_secret,
    pause_seconds,
    retry_after_seconds,
    signed_headers,
    violations_of,
)
from tests.unit.scheduler.webhooks_bench import BROKEN, NOON, OK, URL, some_render

SECRET = new_secret(bytes(range(32)))


def a_delivery(**changes) -> Delivery:
    delivery = Delivery("dlv_1", "ann", "whk_1", "rnd_1", 7, RenderStatus.SUCCEEDED, NOON, next_try_at=NOON)
    return replace(delivery, **changes)


def test_an_accepted_message_is_delivered_whatever_the_2xx():
    for status in (200, 201, 202, 204, 299):
        after = a_delivery(tries=3).tried(Answer(status=status), NOON, 0.5)
        assert (after.state, after.tries, after.next_try_at, after.ended_at) == ("delivered", 4, None, NOON)
        assert after.last_answer == f"HTTP {status}"


def test_everything_else_is_tried_again_after_the_pauses_of_the_table_until_it_is_dead():
    for answer in (BROKEN, Answer(status=404), Answer(status=301), Answer(status=199), Answer(problem="no answer")):
        delivery, pauses = a_delivery(), []
        while delivery.state is DeliveryState.WAITING:
            assert delivery.next_try_at is not None
            now = delivery.next_try_at
            delivery = delivery.tried(answer, now, 0.0)
            if delivery.next_try_at is not None:
                pauses.append((delivery.next_try_at - now).total_seconds())
        assert pauses == [5, 30, 120, 600, 3600, 21600] == list(BACKOFF_SECONDS)
        assert (delivery.state, delivery.tries, delivery.last_answer) == ("dead", 7, answer.words)
        assert delivery.ended_at is not None


def test_a_receiver_that_says_it_is_gone_is_not_asked_twice():
    after = a_delivery().tried(Answer(status=410, retry_after="5"), NOON, 0.0)
    assert (after.state, after.tries, after.last_answer, after.ended_at) == ("dead", 1, "HTTP 410", NOON)


def test_a_redirect_says_why_it_counts_as_a_failure():
    assert Answer(status=302).words == "HTTP 302 (redirects are not followed)"


def test_chance_makes_a_pause_longer_never_shorter():
    assert [pause_seconds(2, 0, luck) for luck in (0.0, 0.5, 1.0)] == [30, 33, 36]


def test_a_receiver_can_ask_for_a_longer_pause_within_bounds_and_for_no_shorter_one():
    def pause(header: str) -> float:
        after = a_delivery().tried(Answer(status=503, retry_after=header), NOON, 0.0)
        assert after.next_try_at is not None
        return (after.next_try_at - NOON).total_seconds()

    assert pause("90") == 90
    assert pause("Fri, 20 Nov 2026 12:01:30 GMT") == 90
    for short in ("0", "1", "-5", "Fri, 20 Nov 2026 11:00:00 GMT", "", "soon", "²", "1e3"):
        assert pause(short) == 5, short
    for long in ("999999999", "9" * 5000, "Fri, 20 Nov 9999 12:00:00 GMT"):
        assert pause(long) == MAX_PAUSE_SECONDS, long


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [-+]?\w*", fullmatch=True),
        st.from_regex(r"Fri, \d+ (Nov|Feb) \d+ \d+:\d+:\d+ GMT", fullmatch=True),
    )
)
@example("0 APR 0 0:3000000000")
@example("Fri, 01 Jan 0001 00:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:60 GMT")
def test_no_header_of_a_receiver_can_do_harm(header):
    assert retry_after_seconds(header, NOON) >= 0


def test_what_has_ended_comes_back_only_when_it_is_replayed():
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        ended = a_delivery(state=state, tries=7, last_answer="HTTP 500", next_try_at=None, ended_at=NOON)
        with pytest.raises(IllegalDeliveryMove):
            ended.tried(OK, NOON, 0.0)
        again = ended.replayed(NOON + timedelta(days=1))
        assert again == a_delivery(next_try_at=NOON + timedelta(days=1))


def test_a_waiting_delivery_can_be_replayed_too():
    tired = a_delivery(tries=6, last_answer="HTTP 500", next_try_at=NOON + timedelta(hours=6))
    assert tired.replayed(NOON) == a_delivery()


def test_a_webhook_asks_for_statuses_and_for_one_model_or_all():
    told = Webhook("whk_1", "ann", URL, (RenderStatus.FAILED, RenderStatus.PAUSED), "", NOON)
    assert told.asks_for(RenderStatus.FAILED, "alpha")
    assert not told.asks_for(RenderStatus.SUCCEEDED, "alpha")
    only_beta = replace(told, model="beta")
    assert only_beta.asks_for(RenderStatus.FAILED, "beta")
    assert not only_beta.asks_for(RenderStatus.FAILED, "alpha")


def test_the_final_statuses_are_told_when_none_is_named():
    assert asked_statuses([]) == ("succeeded", "failed", "canceled", "expired")
    assert asked_statuses(["failed", "queued", "failed"]) == ("queued", "failed")


def test_every_status_but_canceling_can_be_told():
    assert {*TOLD_STATUSES, "canceling"} == set(RenderStatus)


def test_everything_that_is_wrong_with_a_webhook_is_said_at_once():
    violations = violations_of("http://a.example", ["failed", "canceling", "done"], "x" * 201, to_private=False)
    assert [violation.field for violation in violations] == ["url", "statuses[1]", "statuses[2]", "model"]
    listed = "queued, running, paused, succeeded, failed, canceled, expired"
    assert violations[1].description == f"must be one of: {listed}"
    assert violations_of(URL, ["failed"], "alpha", to_private=False) == []


def test_a_message_is_verified_by_the_library_of_the_specification():
    body = message_body("rnd_1", "alpha", snapshot(some_render(), NOON, "made »well«"))
    at = datetime.now(UTC)  # the library reads the clock of the machine
    headers = signed_headers(SECRET, "dlv_1", at, body)
    assert Verifier(SECRET).verify(body, headers)["type"] == "render.queued"
    assert headers["webhook-id"] == "dlv_1"
    assert headers["webhook-timestamp"] == str(int(at.timestamp()))
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(body, headers | {name: headers[name] + "0"})
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body.replace(b"rnd_1", b"rnd_2"), headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new_secret(bytes(32))).verify(body, headers)


def test_a_message_is_verified_by_hand_as_the_documentation_says():
    body = b'{"a":1}'
    headers = signed_headers(SECRET, "dlv_1", NOON, body)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(expected, headers["webhook-signature"])


def test_a_secret_is_32_bytes_in_base64_with_its_prefix():
    assert SECRET.startswith("whsec_")
    assert base64.b64decode(SECRET.removeprefix("whsec_"), validate=True) == bytes(range(32))


def test_a_message_is_the_event_in_the_words_of_the_contract():
    lost = Failure("WORKER_LOST", "3 workers were lost while rendering it", retry=True)
    failed = some_render(
        status=RenderStatus.FAILED,
        attempt=3,
        progress=Progress(done_steps=4, total_steps=10, fraction=0.4),
        error=lost,
    )
    told = json.loads(message_body("rnd_1", "alpha", snapshot(failed, NOON, "given up")))
    assert (told["type"], told["timestamp"]) == ("render.failed", "2026-11-20T12:00:00Z")
    data = told["data"]
    assert (data["render_id"], data["slug"], data["seq"], data["status"]) == ("rnd_1", "alpha", 7, "failed")
    assert (data["at"], data["attempt"], data["message"]) == ("2026-11-20T12:00:00Z", 3, "given up")
    assert (data["progress"]["done_steps"], data["progress"]["fraction"]) == (4, 0.4)
    assert data["error"] == {"reason": "WORKER_LOST", "message": lost.message, "retry": True}
    assert data["keep_alive"] is False
