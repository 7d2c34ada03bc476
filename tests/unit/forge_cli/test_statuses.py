"""Rules of how answers that say no are told."""

from datetime import datetime

import httpx
import pytest
from forge.common.v1.errors_pb2 import ErrorReason
from google.rpc import error_details_pb2

from forge_cli.statuses import _REMEDIES, from_response, from_status


def response(code: int, **content) -> httpx.Response:
    return httpx.Response(code, request=httpx.Request("GET", "http://h/v1/x?key=1"), **content)


def test_a_retry_hint_says_how_long_to_wait(packed_status):
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromSeconds(5)
    info = error_details_pb2.ErrorInfo(reason="NO_FREE_SLOT", metadata={"offered": "H200 eu-north2"})
    failure = from_status(packed_status(8, "no slot is free", info, retry))
    assert (failure.message, failure.reason) == ("no slot is free", "NO_FREE_SLOT")
    assert failure.facts == ("offered: H200 eu-north2", "reason: NO_FREE_SLOT")
    assert failure.hints[0] == "try again in 5 s"


def test_what_takes_a_while_is_told_with_the_time_to_come_back_at(packed_status):
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(200_500)
    failure = from_status(packed_status(8, "full", retry), now=lambda: datetime(2030, 1, 31, 12, 0, 0))
    assert failure.hints == ("try again in 3 min 21 s, at 12:03:21",)


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("QUOTA_EXCEEDED", "forge renders --status queued"),
        ("TARGET_OVERLOADED", "forge capacity"),
        ("COST_LIMIT_EXCEEDED", "--max-cost"),
        ("RENDER_NOT_PAUSED", "forge why"),
    ],
)
def test_a_refusal_says_what_can_be_done(packed_status, reason, command):
    failure = from_status(packed_status(8, "no", error_details_pb2.ErrorInfo(reason=reason)))
    assert any(command in hint for hint in failure.hints)


def test_every_reason_with_a_remedy_is_one_of_the_contract():
    assert {f"ERROR_REASON_{reason}" for reason in _REMEDIES} <= set(ErrorReason.keys())


def test_json_and_grpc_answers_are_told_the_same(packed_status):
    body = {
        "code": 5,
        "message": "there is no model 'x'",
        "details": [
            {"@type": "type.googleapis.com/unknown.Detail", "x": 1},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "MODEL_NOT_FOUND", "domain": "forge"},
        ],
    }
    told = from_response(response(404, json=body))
    same = from_status(packed_status(5, body["message"], error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND")))
    assert (told.message, told.facts, told.reason) == (same.message, same.facts, same.reason)


@pytest.mark.parametrize("content", [{"text": "bad gateway"}, {"json": []}, {"json": {"code": "x"}}])
def test_an_answer_that_is_no_status_is_told_by_its_http_code(content):
    failure = from_response(response(502, **content))
    assert failure.message == "http://h/v1/x answered HTTP 502"


def test_an_answer_cannot_steer_the_terminal(packed_status, capsys):
    from_status(packed_status(3, "\x1b[2Jgone")).show()
    assert "\x1b[2J" not in capsys.readouterr().err
