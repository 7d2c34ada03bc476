"""Errors on their way over gRPC."""

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode, aio
from grpc_status import rpc_status

from services.chassis.errors import ForgeError, InvalidInput, Kind, ServiceUnavailable, Violation
from services.chassis.status import to_error, to_status

METADATA_LIMIT_BYTES = 8 * 1024


def over_the_wire(error: ForgeError) -> aio.AioRpcError:
    status = rpc_status.to_status(to_status(error))
    trailing = aio.Metadata(*status.trailing_metadata)
    return aio.AioRpcError(status.code, aio.Metadata(), trailing, details=status.details)


@pytest.mark.parametrize(
    "error",
    [
        ForgeError("no such thing", kind=Kind.NOT_FOUND, reason="MODEL_NOT_FOUND", resource=("model", "x")),
        ForgeError("busy", kind=Kind.EXHAUSTED, reason="NO_FREE_SLOT", retry_after_seconds=1.5),
        ForgeError("not here", kind=Kind.CONFLICT, reason="TARGET_NOT_OFFERED", metadata={"offered": "a, b"}),
        InvalidInput([Violation("a", "b"), Violation("c", "d")]),
    ],
)
def test_an_error_means_the_same_after_the_wire(error):
    found = to_error(over_the_wire(error), "anybody")
    assert vars(found) == vars(error)


@pytest.mark.parametrize("letter", ["x", "ä", "🎬", "\ud800"])
def test_whatever_an_error_quotes_it_fits_into_any_clients_metadata(letter):
    long = letter * 100_000
    error = ForgeError(
        long,
        violations=[Violation(long, long) for _ in range(1000)],
        metadata={"known": long},
        resource=("model", long),
    )
    packed = to_status(error)
    on_the_wire = len(packed.SerializeToString()) * 4 / 3 + 3 * len(packed.message.encode())
    assert on_the_wire < METADATA_LIMIT_BYTES


def test_violations_that_do_not_fit_are_counted():
    packed = to_status(InvalidInput([Violation(f"field{number}", "is wrong" * 10) for number in range(200)]))
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in packed.details)
    told = [violation for violation in bad_request.field_violations if violation.field]
    assert bad_request.field_violations[-1].description == f"and {200 - len(told)} more"


def test_an_answer_that_contradicts_itself_is_not_believed():
    call = over_the_wire(ForgeError("x", kind=Kind.NOT_FOUND))
    twisted = aio.AioRpcError(StatusCode.UNAVAILABLE, aio.Metadata(), call.trailing_metadata(), details="x")
    assert isinstance(to_error(twisted, "the catalog"), ServiceUnavailable)
