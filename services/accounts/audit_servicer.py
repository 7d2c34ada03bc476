"""The gRPC edge of the audit log: unpack, ask, pack."""

from forge.accounts.v1 import (
    audit_record_service_pb2,
    audit_record_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
)

from services.accounts import audit_convert as convert
from services.accounts.usecases.audit import AuditBook
from services.chassis.identity import caller
from services.chassis.server import Mount


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Who changed what in the caller's account."""

    def __init__(self, book: AuditBook) -> None:
        self._book = book

    async def ListAuditEvents(self, request, context):
        return convert.page_to_proto(await self._book.page(caller().account, **convert.filter_from_proto(request)))


class AuditRecordServicer(audit_record_service_pb2_grpc.AuditRecordServiceServicer):
    """What services have noted."""

    def __init__(self, book: AuditBook) -> None:
        self._book = book

    async def RecordAuditEvents(self, request, context):
        await self._book.record(convert.entries_from_proto(request.events))
        return audit_record_service_pb2.RecordAuditEventsResponse()


def audit_mounts(book: AuditBook) -> list[Mount]:
    """The services of the audit log."""
    return [
        Mount(
            audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
            AuditServicer(book),
        ),
        Mount(
            audit_record_service_pb2.DESCRIPTOR.services_by_name["AuditRecordService"],
            audit_record_service_pb2_grpc.add_AuditRecordServiceServicer_to_server,
            AuditRecordServicer(book),
        ),
    ]
