"""Being told of renders: a receiver on this machine, and the whole platform before it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.platforms import SKYREELS, SVD
from tests.receivers import Receiver, receiving

ALL = ("queued", "running", "paused", "succeeded", "failed", "canceled", "expired")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as subject:
        yield subject


@pytest.fixture
def webhook(rest, receiver) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes webhooks to the receiver that are gone after the test."""
    made: list[str] = []

    def make(*statuses: str, model: str = "") -> dict[str, Any]:
        answer = rest.post("/v1/webhooks", json={"url": receiver.url, "statuses": list(statuses), "model": model})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        made.append(body["webhook"]["id"])
        return body["webhook"] | {"secret": body["secret"]}

    yield make
    for webhook_id in made:
        rest.delete(f"/v1/webhooks/{webhook_id}")


def deliveries(rest, webhook, **only) -> list[dict[str, Any]]:
    answer = rest.get("/v1/webhook-deliveries", params={"webhook_id": webhook["id"], **only})
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def test_a_receiver_is_told_of_every_change_of_status_within_moments(
    platform, rest, receiver, webhook, eventually, followed
):
    made = webhook(*ALL)
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
    assert render["status"] == "succeeded"

    def told() -> list[dict[str, Any]]:
        return receiver.told(made["secret"], render["id"])

    eventually(lambda: told() and told()[-1]["type"] == "render.succeeded", seconds=5, what="the last message")
    messages = told()
    assert [message["type"] for message in messages] == ["render.queued", "render.running", "render.succeeded"]
    log = {event["seq"]: event for event in followed(render["id"])}
    for message in messages:
        expected = log[message["data"]["seq"]] | {"render_id": render["id"], "slug": SVD}
        assert message["data"] == expected, "a message holds the event as the log shows it"
        assert message["timestamp"] == expected["at"]
    headers, body = receiver.messages[0]
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 43 + "=").verify(body, headers)
    eventually(lambda: {d["state"] for d in deliveries(rest, made)} == {"delivered"}, seconds=5, what="bookkeeping")
    assert {d["id"] for d in deliveries(rest, made)} == set(receiver.ids())


def test_a_webhook_hears_only_what_it_asked_for(platform, rest, receiver, webhook, eventually):
    made = webhook(model=SKYREELS)
    assert made["statuses"] == ["succeeded", "failed", "canceled", "expired"]
    rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD))
    render = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
    eventually(lambda: receiver.messages, seconds=5, what="a message")
    assert [(d["render_id"], d["status"]) for d in deliveries(rest, made)] == [(render["id"], "succeeded")]
    assert rest.delete(f"/v1/webhooks/{made['id']}").status_code == 200
    assert deliveries(rest, made) == []
    assert made["id"] not in [listed["id"] for listed in rest.get("/v1/webhooks").json()["webhooks"]]


def test_a_failing_receiver_is_tried_again_under_the_same_id(platform, rest, receiver, webhook, eventually):
    made = webhook("succeeded")
    receiver.status = 500
    rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD))
    (failing,) = eventually(
        lambda: [d for d in deliveries(rest, made) if d["tries"] == 1], seconds=5, what="the first try"
    )
    assert (failing["state"], failing["last_answer"]) == ("waiting", "HTTP 500")
    assert failing["next_try_at"]
    receiver.status = 204
    (delivered,) = eventually(lambda: deliveries(rest, made, state="delivered"), seconds=15, what="the second try")
    assert (delivered["id"], delivered["tries"]) == (failing["id"], 2)
    assert "next_try_at" not in delivered
    assert receiver.ids() == [failing["id"]] * 2


def test_what_is_dead_is_listed_and_can_be_replayed(platform, rest, receiver, webhook, eventually):
    made = webhook("succeeded")
    receiver.status = 410
    rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD))
    (dead,) = eventually(lambda: deliveries(rest, made, state="dead"), seconds=5, what="a dead delivery")
    assert dead["last_answer"] == "HTTP 410"
    receiver.status = 204
    replayed = rest.post(f"/v1/webhook-deliveries/{dead['id']}/replay", json={})
    assert (replayed.status_code, replayed.json()["state"], replayed.json()["tries"]) == (200, "waiting", 0)
    eventually(lambda: deliveries(rest, made, state="delivered"), seconds=5, what="the replay")
    assert receiver.ids() == [dead["id"]] * 2


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["url"]),
        ({"url": "http://8.8.8.8/"}, ["url"]),
        ({"url": "http://169.254.169.254/latest"}, ["url"]),
        ({"url": "https://me:pw@hooks.example.com/"}, ["url"]),
        ({"url": "ftp://x", "statuses": ["succeeded", "canceling"]}, ["url", "statuses[1]"]),
    ],
)
def test_a_wrong_webhook_is_refused_with_the_fields_and_the_remedy(rest, body, fields):
    answer = rest.post("/v1/webhooks", json=body)
    assert answer.status_code == 400
    details = {detail["@type"].rpartition(".")[2]: detail for detail in answer.json()["details"]}
    assert details["ErrorInfo"]["reason"] == "INVALID_INPUT"
    assert [violation["field"] for violation in details["BadRequest"]["field_violations"]] == fields


def test_what_does_not_exist_is_404(rest):
    for answer, reason in (
        (rest.delete("/v1/webhooks/whk_nope"), "WEBHOOK_NOT_FOUND"),
        (rest.post("/v1/webhook-deliveries/dlv_nope/replay", json={}), "DELIVERY_NOT_FOUND"),
    ):
        assert answer.status_code == 404
        assert answer.json()["details"][0]["reason"] == reason
