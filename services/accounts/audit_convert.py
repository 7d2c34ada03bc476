"""Between protobuf and the audit log."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from forge.accounts.v1 import audit_pb2, audit_service_pb2

from services.accounts.usecases.audit import AuditPage
from services.chassis.audit.entry import AuditEntry
from services.chassis.audit.wire import entry_from_proto, entry_to_proto
from services.chassis.errors import InvalidInput, Violation
from services.chassis.wire import moment


def entries_from_proto(events: Iterable[audit_pb2.AuditEvent]) -> list[AuditEntry]:
    """What a service has noted."""
    return [entry_from_proto(event) for event in events]


def page_to_proto(page: AuditPage) -> audit_service_pb2.ListAuditEventsResponse:
    """Some events of an account."""
    return audit_service_pb2.ListAuditEventsResponse(
        events=map(entry_to_proto, page.entries), next_page_token=page.next_token
    )


def filter_from_proto(request: audit_service_pb2.ListAuditEventsRequest) -> dict[str, Any]:
    """What a request asks for, as `AuditBook.page` takes it. Raises InvalidInput for times that no calendar has."""
    return {
        "method": request.method,
        "api_key_id": request.api_key_id,
        "resource": request.resource,
        "since": _moment(request, "since"),
        "until": _moment(request, "until"),
        "page_size": request.page_size,
        "page_token": request.page_token,
    }


def _moment(request: Any, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    try:
        return moment(getattr(request, field))
    except (ValueError, OverflowError) as error:
        raise InvalidInput([Violation(field, "must be a time between the years 1 and 9999")]) from error
