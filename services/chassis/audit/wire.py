"""Between audit entries and the contract, both ways."""

from forge.accounts.v1 import audit_pb2

from services.chassis.audit.entry import AuditEntry
from services.chassis.wire import moment, present, timestamp


def entry_to_proto(entry: AuditEntry) -> audit_pb2.AuditEvent:
    """An entry as services tell each other and show to its account."""
    return audit_pb2.AuditEvent(
        id=entry.id,
        occurred_at=timestamp(entry.occurred_at),
        took_ms=entry.took_ms,
        account=entry.account,
        api_key_id=entry.api_key_id,
        session_id=entry.session_id,
        method=entry.method,
        resources=entry.resources,
        outcome=entry.outcome,
        trace_id=entry.trace_id,
        request_id=entry.request_id,
    )


def entry_from_proto(event: audit_pb2.AuditEvent) -> AuditEntry:
    """An entry that another service noted."""
    return AuditEntry(
        id=event.id,
        occurred_at=moment(event.occurred_at),
        took_ms=present(event, "took_ms"),
        account=event.account,
        api_key_id=event.api_key_id,
        session_id=event.session_id,
        method=event.method,
        resources=tuple(event.resources),
        outcome=event.outcome,
        trace_id=event.trace_id,
        request_id=event.request_id,
    )
