"""The gRPC edge of uploads: unpack, ask, pack. No rules live here."""

from forge.scheduler.v1 import upload_service_pb2, upload_service_pb2_grpc

from services.chassis.identity import caller
from services.scheduler.convert import uploads as convert
from services.scheduler.usecases.uploads import Uploads


class UploadServicer(upload_service_pb2_grpc.UploadServiceServicer):
    """Uploads of the caller's account."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def CreateUpload(self, request, context):
        upload = await self._uploads.create(caller().account, request.file.content_type, request.file.data)
        return convert.upload_to_proto(upload)

    async def ListUploads(self, request, context):
        return convert.uploads_to_proto(await self._uploads.list(caller().account))

    async def GetUpload(self, request, context):
        return convert.upload_to_proto(await self._uploads.get(caller().account, request.upload_id))

    async def DeleteUpload(self, request, context):
        await self._uploads.delete(caller().account, request.upload_id)
        return upload_service_pb2.DeleteUploadResponse()
