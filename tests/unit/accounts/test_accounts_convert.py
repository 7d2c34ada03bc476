"""Between protobuf and the domain."""

from datetime import timedelta

import pytest
from forge.accounts.v1 import account_service_pb2
from google.protobuf.duration_pb2 import Duration

from services.accounts import convert
from services.accounts.domain import MAX_TTL, violations_of


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (None, None),
        (Duration(seconds=60), timedelta(seconds=60)),
        (Duration(seconds=59, nanos=999_000_000), timedelta(seconds=59, milliseconds=999)),
    ],
)
def test_a_ttl_is_read_as_it_stands(ttl, expected):
    assert convert.ttl_from_proto(account_service_pb2.CreateApiKeyRequest(ttl=ttl)) == expected


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), int(MAX_TTL.total_seconds()) + 1, 0])
def test_a_ttl_out_of_bounds_is_a_violation_and_not_a_crash(seconds):
    ttl = convert.ttl_from_proto(account_service_pb2.CreateApiKeyRequest(ttl=Duration(seconds=seconds)))
    assert [violation.field for violation in violations_of("name", [], ttl)] == ["ttl"]
